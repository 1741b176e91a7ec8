"""What the tests share: virtual time, ASGI fakes, real servers, a raw client."""
