//! What comes from outside: the system's clock, ids that no other machine makes, and secrets that nobody can guess.
//!
//! Nothing here decides anything. A host that has a clock or ids of its own needs none of it.
//!
//! ```
//! use keyward::{Clock, OpIds, SystemClock};
//!
//! let (clock, ids) = (SystemClock::new(), OpIds::new());
//! let now = clock.now();
//! let id = ids.next(now);
//! assert_eq!(id.began(), Some(now));
//! assert_ne!(id, ids.next(now));
//! ```

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::{Error, StoreError};
use crate::id::{OpId, Secret};
use crate::time::{Clock, Timestamp};

/// The system's clock: the time of day, which an administrator or a time server may set back or forward.
///
/// The rules are built for that. A step back charges the current window and gives nothing back.
///
/// ```
/// use keyward::{Clock, SystemClock, Timestamp};
/// let now = SystemClock::new().now();
/// assert!(now > "2020-01-01T00:00:00Z".parse::<Timestamp>()?);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Cheap,
    Precise,
}

impl SystemClock {
    /// The cheapest clock of the system.
    ///
    /// On Linux that is the time of the kernel's last tick, usually 1 to 4 ms old and never more than 10; reading it
    /// costs a quarter of what the precise clock costs. Elsewhere, and where ticks are longer, it is the precise clock.
    /// Read in turns with that one, it may seem to step back by a tick.
    #[must_use]
    pub fn new() -> Self {
        Self { source: if source::has_short_ticks() { Source::Cheap } else { Source::Precise } }
    }

    /// The system's clock to the microsecond.
    #[must_use]
    pub const fn precise() -> Self {
        Self { source: Source::Precise }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        match self.source {
            Source::Cheap => source::cheap(),
            Source::Precise => source::precise(),
        }
    }

    /// Since the first time that it was asked. What a machine sleeps may be left out.
    fn passed(&self) -> Option<Duration> {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        Some(FIRST.get_or_init(Instant::now).elapsed())
    }
}

#[cfg(target_os = "linux")]
#[allow(clippy::useless_conversion, reason = "nanoseconds have 32 bits on some targets")]
mod source {
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    use crate::time::Timestamp;

    const LONGEST_TICK: i64 = 10_000_000;

    pub(super) fn has_short_ticks() -> bool {
        let tick = clock_getres(ClockId::RealtimeCoarse);
        tick.tv_sec == 0 && (1..=LONGEST_TICK).contains(&tick.tv_nsec.into())
    }

    #[inline]
    pub(super) fn cheap() -> Timestamp {
        timestamp(clock_gettime(ClockId::RealtimeCoarse))
    }

    pub(super) fn precise() -> Timestamp {
        timestamp(clock_gettime(ClockId::Realtime))
    }

    fn timestamp(time: Timespec) -> Timestamp {
        let micros = i64::from(time.tv_nsec / 1_000);
        // A clock 292,000 years away from 1970 stands at the end of time on its side.
        Timestamp::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(micros))
    }
}

#[cfg(not(target_os = "linux"))]
mod source {
    use std::time::SystemTime;

    use crate::time::Timestamp;

    pub(super) fn has_short_ticks() -> bool {
        false
    }

    pub(super) use precise as cheap;

    pub(super) fn precise() -> Timestamp {
        let now = SystemTime::now();
        // A clock 292,000 years away from 1970 stands at the end of time on its side.
        Timestamp::try_from(now)
            .unwrap_or_else(|_| if now < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX })
    }
}

/// Ids for operations, unique across threads, processes and machines without any of them asking another.
///
/// An id is the instant at which its operation began, and 74 bits that a keyed hash spreads over all that is possible:
/// the key is the operating system's randomness, one for each thread, and what is hashed is the process, the thread and
/// a count. So ids order by their instants, and one does not give away the next; still they are names, not credentials.
///
/// A child process that was forked off and never became another program makes ids of its own. The process is looked up
/// when `now` is not the instant of the last id; only a fork between two ids of one instant goes unseen.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OpIds;

impl OpIds {
    /// A source of ids; as many as one likes.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The id of an operation that begins now.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> OpId {
        STREAM.with(|stream| OpId::at(now, stream.next(now, std::process::id)))
    }
}

/// One thread's part in making ids.
struct Stream {
    key: RandomState,
    thread: u32,
    count: Cell<u64>,
    process: Cell<u32>,
    looked_up: Cell<Option<Timestamp>>,
}

thread_local! {
    static STREAM: Stream = Stream::new(RandomState::new());
}

impl Stream {
    /// The count's own bits in an id, below the hash: 1,024 ids in a row differ whatever the hash says.
    const COUNT_BITS: u32 = 10;

    fn new(key: RandomState) -> Self {
        static THREADS: AtomicU32 = AtomicU32::new(0);
        Self {
            key,
            thread: THREADS.fetch_add(1, Ordering::Relaxed),
            count: Cell::new(0),
            process: Cell::new(0),
            looked_up: Cell::new(None),
        }
    }

    fn next(&self, now: Timestamp, process_id: impl Fn() -> u32) -> u128 {
        if self.looked_up.get() != Some(now) {
            self.process.set(process_id());
            self.looked_up.set(Some(now));
        }
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let hash = self.key.hash_one((u64::from(self.process.get()) << 32 | u64::from(self.thread), count));
        (u128::from(hash) << Self::COUNT_BITS) | u128::from(count % (1 << Self::COUNT_BITS))
    }
}

/// The digits of a secret, five bits each: none that is taken for another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A new secret for a client: the prefix, and 160 bits of the operating system's randomness in 32 digits.
///
/// ```
/// let secret = keyward::system::new_secret("kw")?;
/// assert!(secret.expose().starts_with("kw_") && secret.expose().len() == 35);
/// assert_ne!(secret, keyward::system::new_secret("kw")?);
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// A prefix that is not 1 to 16 ASCII letters, digits, `-` and `_`; an operating system without randomness.
pub fn new_secret(prefix: &str) -> Result<Secret, Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(1..=16).contains(&prefix.len()) || !prefix.bytes().all(fits) {
        return Err(Error::invalid("prefix", prefix, "1 to 16 ASCII letters, digits, - and _"));
    }
    // Three bits of each byte are left over.
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|error| StoreError::unavailable(format!("no randomness: {error}")))?;
    // As large as it gets, so that no copy of it is left behind.
    let mut text = String::with_capacity(prefix.len() + 1 + bytes.len());
    text.push_str(prefix);
    text.push('_');
    text.extend(bytes.iter().filter_map(|byte| DIGITS.get(usize::from(byte & 31))).map(|digit| char::from(*digit)));
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn eight_threads_make_ids_that_never_meet() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let ids: Vec<OpId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100_000).map(|_| OpIds::new().next(now)).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 800_000);
    }

    #[test]
    fn ids_order_by_their_instants() {
        let ids: Vec<OpId> = (0..10_000).map(|at| OpIds::new().next(Timestamp::from_micros(at))).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.last().and_then(OpId::began), Some(Timestamp::from_micros(9_999)));
    }

    /// A server forked its workers after it had made an id. Each went on with the same counter and the same key, and
    /// within one tick of the clock all of them made the same ids.
    #[test]
    fn a_forked_child_does_not_repeat_its_parents_ids() {
        let key = RandomState::new();
        let copy = || Stream { thread: 0, ..Stream::new(key.clone()) };
        let (parent, child) = (copy(), copy());
        let (before, after) = (Timestamp::from_micros(1), Timestamp::from_micros(2));
        assert_eq!(parent.next(before, || 100), child.next(before, || 100), "two copies of one stream");
        assert_ne!(parent.next(after, || 100), child.next(after, || 101), "told apart by their process");
    }

    #[test]
    fn all_bits_below_the_instant_are_used() {
        let (mut ones, mut zeros) = (0, 0);
        let stream = Stream::new(RandomState::new());
        for _ in 0..1_024 {
            let bits = stream.next(Timestamp::EPOCH, || 1);
            ones |= bits;
            zeros |= !bits;
        }
        let all = (1_u128 << 74) - 1;
        assert_eq!((ones & all, zeros & all), (all, all));
    }

    #[test]
    fn the_cheap_clock_stays_within_ticks_of_the_precise_one() {
        let (cheap, precise) = (SystemClock::new(), SystemClock::precise());
        for _ in 0..100_000 {
            let earlier = precise.now();
            let now = cheap.now();
            assert!(earlier.since(now) <= std::time::Duration::from_millis(100), "{now} is far behind {earlier}");
            assert!(now <= precise.now(), "a coarse clock is never ahead");
        }
    }

    #[test]
    fn a_secret_has_32_digits_and_uses_all_of_them() {
        let secrets: Vec<Secret> = (0..200).map(|_| new_secret("sk-test").unwrap()).collect();
        let digits = |secret: &Secret| secret.expose().strip_prefix("sk-test_").unwrap().to_owned();
        assert!(secrets.iter().all(|secret| digits(secret).len() == 32));
        let used: HashSet<char> =
            secrets.iter().flat_map(|secret| digits(secret).chars().collect::<Vec<_>>()).collect();
        assert_eq!(used, DIGITS.iter().map(|digit| char::from(*digit)).collect());
        assert_eq!(secrets.iter().map(digits).collect::<HashSet<_>>().len(), 200);
        for bad in ["", "a b", "é", "12345678901234567"] {
            assert_eq!(new_secret(bad).unwrap_err().field(), Some("prefix"));
        }
    }
}
