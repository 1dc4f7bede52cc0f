//! The bindings of the standard's WIT, which `generate-bindings` writes: what plugins import, and what they export.

#![allow(missing_docs, clippy::all, rustdoc::all)]

#[rustfmt::skip]
pub mod destination;
#[rustfmt::skip]
pub mod imports;
#[rustfmt::skip]
pub mod lifecycle;
#[rustfmt::skip]
pub mod processor;
#[rustfmt::skip]
pub mod source;
#[rustfmt::skip]
pub mod transformer;
#[rustfmt::skip]
pub mod validator;
