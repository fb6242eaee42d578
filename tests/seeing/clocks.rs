//! A clock that goes ahead of the time that passed.
