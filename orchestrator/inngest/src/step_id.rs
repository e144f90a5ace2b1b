//! The ids of steps. An SDK sends the SHA-1 of the id in the code, and people want to read the id
//! in the code.
//!
//! A journal stores the readable id if the SDK sends one that has this hash. Otherwise it stores
//! the hash. In both cases the hash can be computed from the stored id.

use sha1::{Digest, Sha1};
use stepladder_core::StepId;
use stepladder_core::limits::name_problem;

/// The prefix of the ids of the engine's own steps.
const RESERVED: &str = "stepladder/";

/// Returns the hash under which the SDK knows a stored step.
pub(crate) fn hash_of(step: &str) -> String {
    match is_hash(step) {
        true => step.to_owned(),
        false => hex::encode(Sha1::digest(step.as_bytes())),
    }
}

/// Returns the stored id of a step: the first readable id with this hash, or else the hash.
pub(crate) fn stored_id(hash: &str, readable: impl IntoIterator<Item = String>) -> StepId {
    let is_fit =
        |id: &String| !is_hash(id) && !id.starts_with(RESERVED) && name_problem(id).is_none() && hash_of(id) == hash;
    readable.into_iter().find(is_fit).map_or_else(|| hash.into(), StepId::from)
}

/// Returns whether a text is the hash of a step's id.
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_id_is_stored_if_it_has_the_hash() {
        // `a`, `x` and the repeated `x`, as the TypeScript package 4.24 sends them
        assert_eq!(hash_of("a"), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        assert_eq!(hash_of("x"), "11f6ad8ec52a2984abaafd7c3b516503785c2072");
        let again = "825b938e1bf063c8ae74c6b0689861a0c2c0ae63";
        assert_eq!(&*stored_id(again, ["x".to_owned(), "x:1".to_owned()]), "x:1");
        assert_eq!(&*stored_id(again, ["x".to_owned()]), again);
        assert_eq!(hash_of(again), again, "a stored hash is the hash");
    }

    #[test]
    fn an_id_that_cannot_be_stored_is_stored_as_its_hash() {
        for id in ["", "stepladder/undo", "a\nb", &"x".repeat(256), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"] {
            let hash = hex::encode(Sha1::digest(id.as_bytes()));
            let stored = stored_id(&hash, [id.to_owned()]);
            assert_eq!((&*stored, hash_of(&stored)), (&*hash, hash.clone()), "{id}");
        }
    }
}
