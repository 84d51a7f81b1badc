//! What analytics knows of a customer of the shop: a hash, never the name.

use sha2::{Digest as _, Sha256};

use crate::asset::hex;

/// The longest word for a customer, in characters: of an identity token's `sub`, and of who asks by it.
pub const MAX_CHARS: usize = 128;

/// The first 128 bits of the SHA-256 of site and customer, in hex. `customer` is the shop's own word for them, the `sub`
/// of an identity token. Not keyed, because edges make it and analytics must find the same for who asks by that word:
/// it hides who somebody is from who reads by the way, not from who tries all customers of a shop.
pub fn hash(site: &str, customer: &str) -> String {
    let digest = Sha256::new().chain_update(site).chain_update([0]).chain_update(customer).finalize();
    hex(&digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one_of_a_site() {
        let known = hash("default", "customer-7");
        assert_eq!(known, hash("default", "customer-7"));
        assert_ne!(known, hash("shoes", "customer-7"));
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert!(known.len() == 32 && known.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
