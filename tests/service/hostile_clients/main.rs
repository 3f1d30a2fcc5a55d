//! Attacks by clients. In each the one who attacks gets no further than its limit, and all the while health is answered.

mod encodings;
mod floods;
mod health;
mod slow;
mod smuggling;
mod untaken;
