//! The labels of authentication and authorization, with all their values.

use super::label::{Label, LabelSet, label};

label! {
    /// The kind of credentials.
    pub AuthMethod as "method" {
        /// No credentials.
        None => "none",
        /// User name and password.
        Basic => "basic",
        /// A token.
        Bearer => "bearer",
        /// A client certificate, and no other.
        Certificate => "certificate",
        /// Any other scheme.
        Other => "other",
    }
}

label! {
    /// The decision. `challenged` without credentials is the first request of every client that
    /// logs in; with a password or a token it means wrong, expired or not sufficient.
    pub AuthResult as "result" {
        Allowed => "allowed",
        /// 401: credentials are missing, wrong or not sufficient.
        Challenged => "challenged",
        /// 403: the caller is known and not allowed.
        Forbidden => "forbidden",
        /// 429: too many logins of this client are waiting.
        TooManyAttempts => "too_many_attempts",
        /// 503: tokens cannot be verified or signed now.
        Unavailable => "unavailable",
    }
}

label! {
    /// The reason for the decision. Clients only learn that a token is invalid, not why.
    pub AuthReason as "reason" {
        /// Allowed.
        None => "none",
        /// No credentials, and anonymous callers are not allowed to do this.
        NoCredentials => "no_credentials",
        /// The `Authorization` header is malformed, repeated, too long or of another scheme.
        Malformed => "malformed",
        /// A password without a password file, or a token without a token server.
        NotConfigured => "not_configured",
        /// The password is wrong, or the user does not exist.
        WrongPassword => "wrong_password",
        /// Too many logins of this client are waiting.
        TooManyAttempts => "too_many_attempts",
        /// Not a token of three parts, another algorithm, or no expiry.
        TokenMalformed => "token_malformed",
        /// No key of the issuer verifies the signature.
        TokenSignature => "token_signature",
        /// Another issuer.
        TokenIssuer => "token_issuer",
        /// Another audience.
        TokenAudience => "token_audience",
        TokenExpired => "token_expired",
        /// Not valid yet: the clocks differ.
        TokenNotYetValid => "token_not_yet_valid",
        /// A claim that the settings require is missing or has another value.
        TokenClaims => "token_claims",
        /// The token is valid and does not grant this.
        TokenScope => "token_scope",
        /// A token that cannot be exchanged for another one, or a refresh token that was revoked.
        NotExchangeable => "not_exchangeable",
        /// The keys that would verify the token could not be read or fetched since the start.
        NoKeys => "no_keys",
        /// No rule allows this.
        NoRule => "no_rule",
        /// The client certificate of the connection has expired since its handshake.
        CertificateExpired => "certificate_expired",
    }
}

label! {
    /// How fetching the keys of an issuer ended.
    pub IssuerFetch as "result" {
        Ok => "ok",
        Failed => "failed",
    }
}
