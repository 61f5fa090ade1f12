module eventmesh/bench

go 1.24

require (
	github.com/google/uuid v1.6.0
	github.com/mattn/go-sqlite3 v1.14.24
	golang.org/x/time v0.9.0
)
