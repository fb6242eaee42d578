//! A small gateway for language models: client keys with budgets in front, a pool of upstream keys behind.
//!
//! | file | decides |
//! |---|---|
//! | [`setup`] | which limits, prices, keys and clients there are |
//! | [`app`] | who is let in: the routes, and the layer that asks the keeper |
//! | [`chat`] | one call: which key it goes out with, what is tried again, when it is given up |
//! | [`meter`] | a stream on its way to the client: counted while it flows, settled before its last word |
//! | [`keys`] | what operators and agent runners ask of the upstream keys, and tell about them |
//! | [`fake`] | an upstream in the same process, so that all of this runs offline |
//! | [`demo`] | a story that drives the whole of it |

pub mod app;
pub mod chat;
pub mod client;
pub mod demo;
pub mod fake;
pub mod keys;
pub mod meter;
pub mod setup;
