//! A limit of three calls per minute, a caller in a hurry, and what it is told.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout)]

use keyward::limiter::{Answer, Limiter, State};
use keyward::{Amount, Clock, Length, ManualClock, Timestamp};

fn main() -> Result<(), keyward::Error> {
    let limiter = Limiter::per_minute(3);
    let mut alice = State::default();
    // A clock that moves when it is told to, so that this prints the same each time.
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>()?);

    println!("alice, calls: {limiter}");
    for call in 1..=5 {
        match limiter.check(&mut alice, Amount::ONE, clock.now()) {
            Answer::Passed(passed) => println!("{}  call {call}: {passed}", clock.now()),
            Answer::Refused(refused) => {
                println!("{}  call {call}: refused: {refused}", clock.now());
                if let Some(retry) = refused.retry.instant() {
                    clock.set(retry);
                    let again = limiter.check(&mut alice, Amount::ONE, clock.now());
                    println!("{}  call {call} again: {again}", clock.now());
                }
            }
        }
        clock.advance("5s".parse::<Length>()?);
    }

    // A call of which the cost is known only afterwards: take the most it can cost, give back what it did not.
    clock.advance(Length::HOUR);
    let tokens = Limiter::sliding(Amount::new(10_000), Length::MINUTE);
    let mut team = State::default();
    println!("the team, tokens: {tokens}");
    if let Some(mark) = tokens.check(&mut team, Amount::new(4_000), clock.now()).mark() {
        tokens.give_back(&mut team, &mark, Amount::new(2_800), clock.now());
        println!("{}  4000 taken, 1200 used: {} counted", clock.now(), tokens.used(&team, clock.now()));
    }
    println!("{}  {}", clock.now(), tokens.peek(&team, Amount::new(9_000), clock.now()));
    println!("{}  {}", clock.now(), tokens.peek(&team, Amount::new(20_000), clock.now()));
    Ok(())
}
