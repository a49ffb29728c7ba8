//! What docs/in-toto.md says, line by line: a test's name begins with the line that it shows.

mod envelopes;
mod keys;
mod queue;
mod shapes;
mod steps;
mod sublayouts;
mod verified;
mod words;
