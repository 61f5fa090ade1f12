"""`python -m user_service`: the same as the `user-service` command."""

from user_service.app import main

main()
