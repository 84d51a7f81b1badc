//! Of which site something is asked.

use protocol::SiteId;

use super::{State, access::Caller, params::Query, problem::ApiError};
use crate::Store;

/// One site or, for the admin, all of them.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) site: Option<SiteId>,
    /// Whether the site may be one that is not there: a token's own is not a mistake before its first visitor.
    own: bool,
}

impl Scope {
    /// The `site` of the query, as far as the caller may see it.
    pub(super) fn of(caller: &Caller, query: &mut Query) -> Result<Self, ApiError> {
        let asked: Option<SiteId> = query.parsed("site", "1 to 64 characters of A-Z a-z 0-9 _ -")?;
        match (caller, asked) {
            (Caller::Admin, site) => Ok(Self { site, own: false }),
            (Caller::Site(own), Some(asked)) if asked != *own => Err(ApiError::SiteForbidden),
            (Caller::Site(own), _) => Ok(Self { site: Some(own.clone()), own: true }),
        }
    }

    /// The same where it must be one.
    pub(super) fn one(caller: &Caller, query: &mut Query) -> Result<(Self, SiteId), ApiError> {
        let scope = Self::of(caller, query)?;
        let site =
            scope.site.clone().ok_or_else(|| ApiError::field("site", "is needed: a customer is one of a site"))?;
        Ok((scope, site))
    }

    /// Fails where nothing is known of the site.
    pub(super) fn check(&self, store: &Store) -> Result<Option<&SiteId>, ApiError> {
        let site = self.site.as_ref();
        match site {
            Some(site) if !self.own && !store.sites()?.contains(site) => Err(ApiError::SiteUnknown),
            site => Ok(site),
        }
    }
}

impl State {
    /// Asks the store for something of these sites.
    pub(super) async fn read_of<T: Send + 'static>(
        &self,
        scope: &Scope,
        ask: impl FnOnce(&Store, Option<&SiteId>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let scope = scope.clone();
        self.read(move |store| ask(store, scope.check(store)?)).await
    }
}
