//! What only the admin may do.

use std::{
    fs::File,
    io::{self, Read as _},
};

use axum::{
    Json,
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use tokio::{sync::OwnedSemaphorePermit, task};

use super::{
    State,
    access::{Admin, Caller},
    openapi,
    params::Query,
    problem::ApiError,
};
use crate::{Copied, Rewritten};

/// What is read and sent at once.
const PIECE: usize = 256 * 1024;
const DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A copy of the database as it is now. It is checked with its `Repr-Digest` and put back as a file.
#[utoipa::path(get, path = "/api/v1/analytics/backup", tag = "Files", security(("token" = [])),
    responses((status = 200, description = "The database file", body = String, content_type = "application/octet-stream",
        headers(("Repr-Digest" = String, description = "RFC 9530, `sha-256`"))), openapi::Refused, openapi::NoCopy))]
pub(super) async fn backup(state: State, _: Admin, query: Query) -> Result<Response, ApiError> {
    query.end()?;
    let place = state.stream(&Caller::Admin)?;
    let Copied { file, bytes, sha256 } = state.ask((), |store| Ok(store.copy()?)).await?;
    let digest = base64::engine::general_purpose::STANDARD.encode(sha256);
    let mut response = Response::new(Body::from_stream(pieces(file, place)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let name = "attachment; filename=\"frontdesk-analytics.redb\"";
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    let digest = HeaderValue::from_maybe_shared(format!("sha-256=:{digest}:")).expect("base64 makes a header");
    headers.insert(DIGEST, digest);
    Ok(response)
}

/// A file, piece by piece. `place` is held until it is sent.
fn pieces(file: File, place: OwnedSemaphorePermit) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, place), async |(mut file, place)| {
        let read = task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), (file, place))))
    })
}

/// Writes the database anew, so that what was erased is in none of its bytes and the file shrinks. Facts wait meanwhile.
#[utoipa::path(post, path = "/api/v1/analytics/rewrite", tag = "Files", security(("token" = [])),
    responses((status = 200, body = openapi::Rewritten), openapi::Refused, openapi::NoCopy))]
pub(super) async fn rewrite(state: State, _: Admin, query: Query) -> Result<Json<Rewritten>, ApiError> {
    query.end()?;
    Ok(Json(state.ask(state.stream(&Caller::Admin)?, |store| Ok(store.rewrite()?)).await?))
}
