// The accept path in Go, as a yardstick: net/http and encoding/json, the same checks, a token
// bucket a tenant, and the same durable append (SQLite, WAL, synchronous=FULL, one writer with
// group commit), answered with 202 after the commit. Usage: accept PORT DATABASE.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/mail"
	"os"
	"regexp"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	_ "github.com/mattn/go-sqlite3"
	"golang.org/x/time/rate"
)

type user struct {
	Name       string         `json:"name"`
	Email      string         `json:"email"`
	UserID     string         `json:"userId,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

type event struct {
	TenantID string `json:"tenantId"`
	user
}

type accepted struct {
	UserID   string `json:"userId"`
	TenantID string `json:"tenantId"`
	EventID  string `json:"eventId"`
	Status   string `json:"status"`
	Position string `json:"position"`
}

type record struct {
	key, value, headers []byte
	done                chan error
	offset              int64
}

var tenantID = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func writer(db *sql.DB, queue <-chan *record) {
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	offset := int64(0)
	for first := range queue {
		batch := []*record{first}
	drain:
		for len(batch) < 2000 {
			select {
			case r := <-queue:
				batch = append(batch, r)
			default:
				break drain
			}
		}
		tx, err := conn.BeginTx(context.Background(), nil)
		if err == nil {
			var insert *sql.Stmt
			insert, err = tx.Prepare("INSERT INTO records VALUES (?, 1, ?, ?, ?, ?, ?)")
			for _, r := range batch {
				if err != nil {
					break
				}
				offset++
				r.offset = offset
				_, err = insert.Exec(offset, offset%12, r.key, r.headers, r.value, time.Now().UnixMilli())
			}
			if err == nil {
				err = tx.Commit()
			} else {
				tx.Rollback()
			}
		}
		for _, r := range batch {
			r.done <- err
		}
	}
}

func check(u *user) error {
	if u.Name == "" || utf8.RuneCountInString(u.Name) > 200 {
		return errors.New("name has to have 1 to 200 characters")
	}
	for _, c := range u.Name {
		if unicode.IsControl(c) {
			return errors.New("name must not contain control characters")
		}
	}
	address, err := mail.ParseAddress(u.Email)
	if err != nil || address.Address != u.Email {
		return errors.New("email is not an address")
	}
	return nil
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"detail":%q}`, detail)
}

func main() {
	db, err := sql.Open("sqlite3", "file:"+os.Args[2]+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.Exec(`CREATE TABLE records (offset INTEGER PRIMARY KEY, topic INTEGER, partition INTEGER,
		key BLOB, headers BLOB, value BLOB, timestamp_ms INTEGER)`)
	if err != nil {
		log.Fatal(err)
	}
	queue := make(chan *record, 20000)
	go writer(db, queue)
	limits := map[string]*rate.Limiter{"tenant-a": rate.NewLimiter(1e9, 1e9)}
	var requests atomic.Int64
	http.HandleFunc("POST /users/create", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		tenant := r.Header.Get("X-Tenant-Id")
		limiter, known := limits[tenant]
		if !known || !tenantID.MatchString(tenant) {
			problem(w, 403, "unknown tenant")
			return
		}
		if !limiter.Allow() {
			problem(w, 429, "too many requests")
			return
		}
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 65536))
		decoder.DisallowUnknownFields()
		var u user
		if err := decoder.Decode(&u); err != nil {
			problem(w, 422, err.Error())
			return
		}
		if err := check(&u); err != nil {
			problem(w, 422, err.Error())
			return
		}
		if u.UserID == "" {
			u.UserID = uuid.NewString()
		}
		eventID := uuid.NewString()
		value, _ := json.Marshal(event{tenant, u})
		headers, _ := json.Marshal(map[string]string{
			"ce_id": eventID, "ce_source": "/go", "ce_specversion": "1.0", "ce_type": "user.created",
			"ce_time": time.Now().UTC().Format(time.RFC3339Nano), "ce_subject": u.UserID, "ce_tenantid": tenant,
		})
		rec := &record{key: []byte(tenant + "/" + u.UserID), value: value, headers: headers, done: make(chan error, 1)}
		queue <- rec
		if err := <-rec.done; err != nil {
			problem(w, 503, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("RateLimit", fmt.Sprintf(`"users.write";r=%d;t=1`, int(limiter.Tokens())))
		w.WriteHeader(202)
		json.NewEncoder(w).Encode(accepted{u.UserID, tenant, eventID, "accepted", fmt.Sprint(rec.offset)})
	})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ok"}`) })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
