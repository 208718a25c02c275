//! Boundaries and questions, at every position where a stream can be cut.
