//! The model and its log, at every offset.
