//! Settings of proofs.

/// Who must sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RequestSignatures {
    /// Nobody: the key in a create is ignored. Sessions that are bound already stay so.
    Off,
    /// Sessions that were created with a key.
    Optional,
    /// Everybody: sessions without a key are refused.
    Required,
}

/// How requests are signed.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Proofs {
    /// Whether sessions are bound to a key of the browser, which then signs each call (DPoP).
    #[arg(long, env = "REQUEST_SIGNATURES", default_value = "optional", value_enum)]
    pub request_signatures: RequestSignatures,
}
