//! What holds a token, a ticket, a fingerprint or a whole request has no `Debug` form, so no log line can show it.

use std::{fmt::Debug, marker::PhantomData};

use crate::{
    request::Call,
    token::{Claims, Grant, Tokens},
    visitor::{Listener, Visitor},
};

struct Probe<T>(PhantomData<T>);

/// The constant of the trait is found only where the type's own, which needs `Debug`, is not there.
trait Otherwise {
    const PRINTS: bool = false;
}

impl<T> Otherwise for Probe<T> {}

impl<T: Debug> Probe<T> {
    const PRINTS: bool = true;
}

macro_rules! never_print {
    ($($kind:ty),+) => { $(const { assert!(!Probe::<$kind>::PRINTS, stringify!($kind)) };)+ };
}

#[test]
fn who_holds_secrets_has_no_debug_form() {
    const { assert!(Probe::<String>::PRINTS, "the probe tells") };
    never_print!(Claims, Grant, Tokens, Visitor, Listener, Call);
}
