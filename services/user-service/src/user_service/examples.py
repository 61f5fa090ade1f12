"""Examples in the OpenAPI document. The tests send each request and compare each answer's shape."""

USER = {"name": "Alice Doe", "email": "alice@example.com"}
USERS = {
    "person": USER,
    "withAttributes": {
        "name": "Søren Ångström",
        "email": "soren@example.org",
        "userId": "soren-7",
        "attributes": {"team": "billing", "languages": ["da", "sv"]},
    },
}
_POSITION = "q9t0m3nYV2c1k5Jm0Zk3l2yqk1x3T7bXc2m4Hq8v5s0wN1uYr6ZpDQ"
ACCEPTED = {
    "userId": "8c6f5a4e-4b1c-4a0e-9d34-0f2f6f1f7a11",
    "tenantId": "tenant-a",
    "eventId": "2f1de0a4-64a2-4d6e-9f0b-5b1d3c8e7f22",
    "status": "accepted",
    "position": _POSITION,
}
BATCH = {"two": [USER, {"name": "Bob Roe", "email": "bob@example.com"}]}
BATCH_RESULT = {
    "tenantId": "tenant-a",
    "accepted": 1,
    "rejected": 1,
    "results": [
        {
            "status": "accepted",
            "index": 0,
            "userId": "8c6f5a4e-4b1c-4a0e-9d34-0f2f6f1f7a11",
            "eventId": "2f1de0a4-64a2-4d6e-9f0b-5b1d3c8e7f22",
            "position": _POSITION,
        },
        {
            "status": "rejected",
            "index": 1,
            "problem": {
                "type": "/errors/invalid-request",
                "title": "The request is not valid",
                "status": 422,
                "code": "invalid-request",
                "detail": "email: An email address must have an @-sign.",
                "requestId": "4f1d0c9be2a74d10",
            },
        },
    ],
}
