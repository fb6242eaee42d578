//! The open hold parts of one shard, packed, in the order in which they expire in their account.
//!
//! Which account has the first of all is known roughly: whenever a part becomes the first of its account, its instant is
//! noted, and a note is looked at only when its instant has come.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::heap::{self, Links, NONE, Nodes};
use crate::account::{Audit, Context, Entry, MeterId, OnExpiry, Part};
use crate::amount::Amount;
use crate::id::{OpId, Subject};
use crate::store::table::Slot;
use crate::time::Timestamp;

/// How many parts lie in one piece of memory.
const PAGE: usize = 16;
/// How many entries have room for their flags.
const FLAGGED: usize = 16;
/// How many notes there may be besides two for each part that there is room for.
const NOTES: usize = 32;
/// How much memory of entries is kept to be used again.
const SPARE: usize = 64;

/// Open parts. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Holds {
    pages: Vec<Vec<Option<Held>>>,
    free: Vec<u32>,
    count: usize,
    /// For every account with open parts, an instant that is no later than that of its first.
    notes: BinaryHeap<Reverse<(Timestamp, Slot)>>,
    /// Memory of entries that were more than have room in their part, to be used again.
    spare: Vec<Smalls>,
    /// What parts hold that have more entries than have room for their flags.
    many: HashMap<u32, Box<[Entry]>>,
}

/// One open part, as small as it can be kept.
#[derive(Debug)]
struct Held {
    op: Op,
    expires: Timestamp,
    taken: Timestamp,
    context: Option<Arc<Context>>,
    /// Mostly all; if there are more, all of them are among `many`.
    few: Smalls,
    links: Links,
    /// Those of each entry, two bits each, the first in the lowest.
    flags: u32,
    account: Slot,
    sequence: u16,
    amended: u16,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Library([u8; 16]),
    Host(Box<OpId>),
}

impl Op {
    fn new(op: &OpId) -> Self {
        op.library().map_or_else(|| Self::Host(Box::new(op.clone())), Self::Library)
    }

    fn is(&self, op: &OpId) -> bool {
        match self {
            Self::Library(id) => op.library() == Some(*id),
            Self::Host(id) => **id == *op,
        }
    }

    fn id(&self) -> OpId {
        match self {
            Self::Library(id) => OpId::from_library(*id),
            Self::Host(id) => (**id).clone(),
        }
    }
}

type Smalls = SmallVec<[Small; 3]>;

#[derive(Clone, Copy, Debug)]
struct Small {
    mark: Timestamp,
    amount: Amount,
    meter: MeterId,
    epoch: u32,
}

impl Small {
    /// The entry, whose flags are the lowest of these.
    #[inline]
    fn entry(self, flags: u32) -> Entry {
        let Self { mark, amount, meter, epoch } = self;
        let on_expiry = if flags & 2 == 0 { OnExpiry::Release } else { OnExpiry::Charge };
        let audit = if flags & 1 == 0 { Audit::None } else { Audit::Rows };
        Entry { meter, epoch, mark, amount, on_expiry, audit }
    }
}

impl Held {
    #[inline]
    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let flags = (0_u32..32).step_by(2).map(|by| self.flags >> by);
        self.few.iter().zip(flags).map(|(small, flags)| small.entry(flags))
    }
}

impl Holds {
    pub(super) const NONE: u32 = NONE;

    /// Keeps a new part of the account in this slot, whose first part this is. Returns its number.
    pub(super) fn insert(&mut self, part: &Part, account: Slot, root: &mut u32) -> u32 {
        let Part { op, account: _, sequence, taken, expires, end: _, entries, context, amended } = part;
        let number = self.open(op, account, (*taken, *expires), entries.iter().copied(), context.clone(), root);
        if let Some(held) = self.get_mut(number) {
            (held.sequence, held.amended) = (*sequence, *amended);
        }
        number
    }

    /// Keeps the first part of an operation in the account in this slot. Returns its number.
    #[inline]
    pub(super) fn open(
        &mut self,
        op: &OpId,
        account: Slot,
        (taken, expires): (Timestamp, Timestamp),
        entries: impl Iterator<Item = Entry> + Clone,
        context: Option<Arc<Context>>,
        root: &mut u32,
    ) -> u32 {
        let (few, flags) = self.smalls(entries.clone());
        let op = Op::new(op);
        let held =
            Held { op, expires, taken, context, few, links: Links::NONE, flags, account, sequence: 0, amended: 0 };
        let number = self.place(held);
        self.keep_many(number, entries);
        self.link(number, root);
        number
    }

    /// What a part holds, as small as it can be kept, in memory that may have been used before.
    #[inline]
    fn smalls(&mut self, entries: impl Iterator<Item = Entry> + Clone) -> (Smalls, u32) {
        let (mut few, mut flags, mut at) = (Smalls::new(), 0, 0);
        let most = entries.size_hint().1.unwrap_or(usize::MAX);
        if most > few.inline_size() && entries.clone().count() > few.inline_size() {
            few = self.spare.pop().unwrap_or_default();
            few.clear();
        }
        few.extend(entries.take(FLAGGED).map(|entry| {
            let Entry { meter, epoch, mark, amount, on_expiry, audit } = entry;
            let flag = u32::from(on_expiry == OnExpiry::Charge) << 1 | u32::from(audit == Audit::Rows);
            flags |= flag << at;
            at += 2;
            Small { mark, amount, meter, epoch }
        }));
        (few, flags)
    }

    /// Keeps what a part holds that has more entries than have room for their flags.
    #[inline]
    fn keep_many(&mut self, number: u32, entries: impl Iterator<Item = Entry> + Clone) {
        let most = entries.size_hint().1.unwrap_or(usize::MAX);
        if most > FLAGGED && entries.clone().count() > FLAGGED {
            self.many.insert(number, entries.collect());
        } else if !self.many.is_empty() {
            self.many.remove(&number);
        }
    }

    /// The sequence of a part, what it holds, and what it knows of the call, if it is this operation's, in the account in
    /// this slot, and has not expired; unless it holds a lot.
    #[inline]
    pub(super) fn opened(&self, number: u32, op: &OpId, account: Slot, now: Timestamp) -> Option<Opened<'_>> {
        let held = self.get(number).filter(|held| held.account == account && held.expires > now && held.op.is(op))?;
        if !self.many.is_empty() && self.many.contains_key(&number) {
            return None;
        }
        Some(Opened(held))
    }

    fn place(&mut self, held: Held) -> u32 {
        self.count += 1;
        if let Some(number) = self.free.pop() {
            if let Some(place) = self.place_of(number) {
                *place = Some(held);
            }
            return number;
        }
        if self.pages.last().is_none_or(|page| page.len() >= PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let before = (self.pages.len() - 1) * PAGE;
        let Some(page) = self.pages.last_mut() else { return NONE };
        page.push(Some(held));
        u32::try_from(before + page.len() - 1).unwrap_or(NONE)
    }

    /// Writes a part over what is kept of it.
    pub(super) fn update(&mut self, number: u32, part: &Part, root: &mut u32) {
        let (few, flags) = self.smalls(part.entries.iter().copied());
        self.keep_many(number, part.entries.iter().copied());
        let Some(held) = self.get_mut(number) else { return };
        let before = std::mem::replace(&mut held.few, few);
        held.flags = flags;
        held.context.clone_from(&part.context);
        (held.taken, held.amended) = (part.taken, part.amended);
        self.keep_spare(before);
        self.expire_at(number, part.expires, root);
    }

    /// Keeps the memory of entries that are no more, as long as that is not much.
    #[inline]
    fn keep_spare(&mut self, few: Smalls) {
        if few.spilled() && self.spare.len() < SPARE {
            self.spare.push(few);
        }
    }

    /// Has a part expire at another instant.
    pub(super) fn expire_at(&mut self, number: u32, expires: Timestamp, root: &mut u32) {
        if self.expires(number).is_some_and(|known| known != expires) {
            *root = heap::remove(self, *root, number);
            if let Some(held) = self.get_mut(number) {
                held.expires = expires;
            }
            self.link(number, root);
        }
    }

    /// Drops a part, linked in its account or not.
    #[inline]
    pub(super) fn remove(&mut self, number: u32, root: &mut u32, linked: Linked) {
        if self.get(number).is_none() {
            return;
        }
        if linked == Linked::Yes {
            *root = heap::remove(self, *root, number);
        }
        if let Some(held) = self.place_of(number).and_then(Option::take) {
            self.keep_spare(held.few);
        }
        if !self.many.is_empty() {
            self.many.remove(&number);
        }
        self.free.push(number);
        self.count -= 1;
        if self.count > 0 {
            return;
        }
        self.notes.clear();
        if self.pages.len() > 1 {
            self.notes = BinaryHeap::new();
            self.pages.truncate(1);
            self.pages.first_mut().into_iter().for_each(Vec::clear);
            self.pages.shrink_to_fit();
            self.free = Vec::new();
        }
    }

    /// Takes the part of an account that expires first out of its order, if it has expired by then.
    pub(super) fn pop_due(&mut self, root: &mut u32, now: Timestamp) -> Option<u32> {
        let first = *root;
        self.expires(first).filter(|expires| *expires <= now)?;
        *root = heap::remove(self, first, first);
        Some(first)
    }

    /// Puts a part in the order of its account. If it is the first there, it may be the first of all.
    #[inline]
    fn link(&mut self, number: u32, root: &mut u32) {
        *root = heap::insert(self, *root, number);
        if *root == number {
            let Some((expires, account)) = self.get(number).map(|held| (held.expires, held.account)) else { return };
            let most = (2 * PAGE).saturating_mul(self.pages.len()).saturating_add(NOTES);
            if self.notes.capacity() == 0 {
                self.notes.reserve(most);
            } else if self.notes.len() >= most {
                self.note_anew();
            }
            self.notes.push(Reverse((expires, account)));
        }
    }

    /// Notes the first part of each account once, and no other.
    #[cold]
    fn note_anew(&mut self) {
        self.notes.clear();
        for held in self.pages.iter().flatten().flatten().filter(|held| held.links.is_first()) {
            self.notes.push(Reverse((held.expires, held.account)));
        }
    }

    /// Takes a part out of the order of its account.
    pub(super) fn take_out(&mut self, number: u32, root: &mut u32) {
        *root = heap::remove(self, *root, number);
    }

    /// Puts back what [`Holds::pop_due`] and [`Holds::take_out`] took.
    pub(super) fn put_back(&mut self, number: u32, root: &mut u32) {
        self.link(number, root);
    }

    pub(super) fn expires(&self, number: u32) -> Option<Timestamp> {
        self.get(number).map(|held| held.expires)
    }

    /// No part expires before this.
    #[inline]
    pub(super) fn due(&self) -> Timestamp {
        self.notes.peek().map_or(Timestamp::MAX, |Reverse((due, _))| *due)
    }

    /// An account with a part that has expired by then, if there is one. `root` says which part of an account is the first.
    pub(super) fn first_due(&mut self, now: Timestamp, root: impl Fn(Slot) -> u32) -> Option<Slot> {
        while let Some(Reverse((due, account))) = self.notes.peek().copied() {
            if due > now {
                break;
            }
            let first = self.expires(root(account));
            if first.is_some_and(|first| first <= now) {
                return Some(account);
            }
            self.notes.pop();
            self.notes.extend(first.map(|first| Reverse((first, account))));
        }
        None
    }

    /// All open parts of an account.
    pub(super) fn of(&mut self, root: u32) -> Vec<u32> {
        heap::all(self, root)
    }

    /// The account of a part, if it is this operation's.
    pub(super) fn account_if(&self, number: u32, op: &OpId) -> Option<Slot> {
        self.get(number).filter(|held| held.op.is(op)).map(|held| held.account)
    }

    /// Whether it is this part, of the account in this slot.
    pub(super) fn is(&self, number: u32, part: &Part, account: Slot) -> bool {
        self.get(number)
            .is_some_and(|held| held.sequence == part.sequence && held.account == account && held.op.is(&part.op))
    }

    /// The operation and the account of every part.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, OpId, Slot)> + '_ {
        let places = self.pages.iter().flatten();
        (0_u32..)
            .zip(places)
            .filter_map(|(number, held)| held.as_ref().map(|held| (number, held.op.id(), held.account)))
    }

    /// A part as everyone else knows it.
    pub(super) fn part(&self, number: u32, account: &Subject) -> Option<Part> {
        let held = self.get(number)?;
        let many = if self.many.is_empty() { None } else { self.many.get(&number) };
        let entries = many.map_or_else(|| held.entries().collect(), |many| SmallVec::from_slice(many));
        Some(Part {
            op: held.op.id(),
            account: account.clone(),
            sequence: held.sequence,
            taken: held.taken,
            expires: held.expires,
            end: None,
            entries,
            context: held.context.clone(),
            amended: held.amended,
        })
    }

    #[inline]
    fn get(&self, number: u32) -> Option<&Held> {
        let number = usize::try_from(number).ok()?;
        self.pages.get(number / PAGE)?.get(number % PAGE)?.as_ref()
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> Option<&mut Held> {
        self.place_of(number)?.as_mut()
    }

    #[inline]
    fn place_of(&mut self, number: u32) -> Option<&mut Option<Held>> {
        let number = usize::try_from(number).ok()?;
        self.pages.get_mut(number / PAGE)?.get_mut(number % PAGE)
    }
}

/// Whether a part hangs in the heap of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    Yes,
    No,
}

/// An open part where it lies.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a>(&'a Held);

impl<'a> Opened<'a> {
    pub(super) fn sequence(self) -> u16 {
        self.0.sequence
    }

    #[inline]
    pub(super) fn entries(self) -> impl Iterator<Item = Entry> + use<'a> {
        self.0.entries()
    }

    pub(super) fn expires(self) -> Timestamp {
        self.0.expires
    }

    pub(super) fn context(self) -> Option<&'a Arc<Context>> {
        self.0.context.as_ref()
    }
}

impl Nodes for Holds {
    #[inline]
    fn links(&self, node: u32) -> Links {
        self.get(node).map_or(Links::NONE, |held| held.links)
    }

    #[inline]
    fn links_mut(&mut self, node: u32) -> Option<&mut Links> {
        self.get_mut(node).map(|held| &mut held.links)
    }

    #[inline]
    fn before(&self, a: u32, b: u32) -> bool {
        let (Some(a), Some(b)) = (self.get(a), self.get(b)) else { return false };
        let order = a.expires.cmp(&b.expires);
        order.then_with(|| a.op.cmp(&b.op)).then_with(|| a.sequence.cmp(&b.sequence)) == Ordering::Less
    }
}
