//! Finished sessions are found again as they were, and nothing else is.
