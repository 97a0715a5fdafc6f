"""Who somebody is, as others say it that the server trusts: an OpenID Connect issuer, a proxy."""
