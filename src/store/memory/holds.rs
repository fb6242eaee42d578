//! The open hold parts of one shard, packed, in the order in which they expire: in their account, and in the shard.

use std::cmp::Ordering;
use std::sync::Arc;

use smallvec::SmallVec;

use super::heap::{self, Links, NONE, Nodes};
use crate::account::{Audit, Context, Entry, MeterId, OnExpiry, Part};
use crate::amount::Amount;
use crate::id::{OpId, Subject};
use crate::plan;
use crate::store::table::Slot;
use crate::time::Timestamp;

/// The heap of a part's account, and that of the shard.
const ACCOUNT: usize = 0;
const SHARD: usize = 1;

/// How many parts lie in one piece of memory.
const PAGE: usize = 64;
/// How many entries have room for their flags.
const FLAGGED: usize = 32;

/// Open parts. See the [module](self).
#[derive(Debug)]
pub(super) struct Holds {
    pages: Vec<Vec<Option<Held>>>,
    free: Vec<u32>,
    count: usize,
    root: u32,
    /// Memory of entries that were more than have room in their part, to be used again.
    spare: Vec<Smalls>,
}

/// One open part, as small as it can be kept.
#[derive(Debug)]
struct Held {
    op: Op,
    expires: Timestamp,
    taken: Timestamp,
    context: Option<Arc<Context>>,
    entries: Entries,
    links: [Links; 2],
    account: Slot,
    sequence: u16,
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

/// What a part holds: mostly a few entries, whose flags lie beside them.
#[derive(Debug)]
enum Entries {
    Few { flags: u64, few: Smalls },
    Many(Box<[Entry]>),
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
    fn entry(self, flags: u64) -> Entry {
        let Self { mark, amount, meter, epoch } = self;
        let on_expiry = if flags & 2 == 0 { OnExpiry::Release } else { OnExpiry::Charge };
        let audit = if flags & 1 == 0 { Audit::None } else { Audit::Rows };
        Entry { meter, epoch, mark, amount, on_expiry, audit }
    }
}

impl Entries {
    /// These, in memory that may have been used before.
    fn new(entries: &[Entry], mut few: Smalls) -> Self {
        if entries.len() > FLAGGED {
            return Self::Many(entries.into());
        }
        few.clear();
        let mut flags = 0;
        for entry in entries.iter().rev() {
            flags = flags << 2
                | u64::from(entry.on_expiry == OnExpiry::Charge) << 1
                | u64::from(entry.audit == Audit::Rows);
        }
        few.extend(entries.iter().map(|entry| {
            let Entry { meter, epoch, mark, amount, on_expiry: _, audit: _ } = *entry;
            Small { mark, amount, meter, epoch }
        }));
        Self::Few { flags, few }
    }

    fn write_to(&self, entries: &mut SmallVec<[Entry; 8]>) {
        match self {
            Self::Few { flags, few } => {
                let mut flags = *flags;
                for small in few.iter().copied() {
                    entries.push(small.entry(flags));
                    flags >>= 2;
                }
            }
            Self::Many(many) => entries.extend_from_slice(many),
        }
    }

    /// The memory of its own that it has, if it has any.
    fn spare(self) -> Option<Smalls> {
        match self {
            Self::Few { few, .. } => Some(few).filter(Smalls::spilled),
            Self::Many(_) => None,
        }
    }
}

impl Default for Holds {
    fn default() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), count: 0, root: NONE, spare: Vec::new() }
    }
}

impl Holds {
    pub(super) const NONE: u32 = NONE;

    /// Keeps a new part of the account in this slot, whose first part this is. Returns its number.
    pub(super) fn insert(&mut self, part: &Part, account: Slot, root: &mut u32) -> u32 {
        let Part { op, account: _, sequence, taken, expires, end: _, entries, context } = part;
        let held = Held {
            op: Op::new(op),
            expires: *expires,
            taken: *taken,
            context: context.clone(),
            entries: self.entries(entries),
            links: [Links::NONE; 2],
            account,
            sequence: *sequence,
        };
        self.hang(held, root)
    }

    /// Keeps the first part of an operation in the account in this slot. Returns its number.
    #[inline]
    pub(super) fn open(
        &mut self,
        op: &OpId,
        account: Slot,
        (taken, expires): (Timestamp, Timestamp),
        entries: &[Entry],
        context: Option<Arc<Context>>,
        root: &mut u32,
    ) -> u32 {
        let (op, entries, links) = (Op::new(op), self.entries(entries), [Links::NONE; 2]);
        self.hang(Held { op, expires, taken, context, entries, links, account, sequence: 0 }, root)
    }

    /// The sequence of a part, and what it holds, if it is this operation's, in the account in this slot, and has not
    /// expired; unless it holds a lot.
    #[inline]
    pub(super) fn opened(
        &self,
        number: u32,
        op: &OpId,
        account: Slot,
        now: Timestamp,
        entries: &mut plan::Held,
    ) -> Option<u16> {
        let held = self.get(number).filter(|held| held.account == account && held.expires > now && held.op.is(op))?;
        let Entries::Few { flags, few } = &held.entries else { return None };
        let mut flags = *flags;
        for small in few {
            entries.push(small.entry(flags));
            flags >>= 2;
        }
        Some(held.sequence)
    }

    fn hang(&mut self, held: Held, root: &mut u32) -> u32 {
        let number = self.place(held);
        let first = self.root;
        self.root = heap::insert(&mut Heap::<SHARD>(self), first, number);
        *root = heap::insert(&mut Heap::<ACCOUNT>(self), *root, number);
        number
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
        let entries = self.entries(&part.entries);
        let Some(held) = self.get_mut(number) else { return };
        let before = std::mem::replace(&mut held.entries, entries);
        held.context.clone_from(&part.context);
        held.taken = part.taken;
        let moved = held.expires != part.expires;
        self.keep_spare(before);
        if moved {
            self.unlink(number, root);
            if let Some(held) = self.get_mut(number) {
                held.expires = part.expires;
            }
            self.link(number, root);
        }
    }

    /// Drops a part, linked in its account or not.
    pub(super) fn remove(&mut self, number: u32, root: &mut u32, linked: Linked) {
        if self.get(number).is_none() {
            return;
        }
        if linked == Linked::Yes {
            *root = heap::remove(&mut Heap::<ACCOUNT>(self), *root, number);
        }
        let first = self.root;
        self.root = heap::remove(&mut Heap::<SHARD>(self), first, number);
        if let Some(held) = self.place_of(number).and_then(Option::take) {
            self.keep_spare(held.entries);
        }
        self.free.push(number);
        self.count -= 1;
        if self.count == 0 && self.pages.len() > 1 {
            self.pages.truncate(1);
            self.pages.first_mut().into_iter().for_each(Vec::clear);
            self.pages.shrink_to_fit();
            self.free = Vec::new();
        }
    }

    fn entries(&mut self, entries: &[Entry]) -> Entries {
        let few = if entries.len() > Smalls::new().inline_size() { self.spare.pop() } else { None };
        Entries::new(entries, few.unwrap_or_default())
    }

    /// Keeps the memory of entries that are no more, as long as that is not much.
    fn keep_spare(&mut self, entries: Entries) {
        if let Some(spare) = entries.spare().filter(|_| self.spare.len() < PAGE) {
            self.spare.push(spare);
        }
    }

    /// Takes the part of an account that expires first out of its order, if it has expired by then.
    pub(super) fn pop_due(&mut self, root: &mut u32, now: Timestamp) -> Option<u32> {
        let first = *root;
        self.expires(first).filter(|expires| *expires <= now)?;
        *root = heap::remove(&mut Heap::<ACCOUNT>(self), first, first);
        Some(first)
    }

    fn unlink(&mut self, number: u32, root: &mut u32) {
        *root = heap::remove(&mut Heap::<ACCOUNT>(self), *root, number);
        let first = self.root;
        self.root = heap::remove(&mut Heap::<SHARD>(self), first, number);
    }

    fn link(&mut self, number: u32, root: &mut u32) {
        *root = heap::insert(&mut Heap::<ACCOUNT>(self), *root, number);
        let first = self.root;
        self.root = heap::insert(&mut Heap::<SHARD>(self), first, number);
    }

    /// Takes a part out of the order of its account.
    pub(super) fn take_out(&mut self, number: u32, root: &mut u32) {
        *root = heap::remove(&mut Heap::<ACCOUNT>(self), *root, number);
    }

    /// Puts back what [`Holds::pop_due`] and [`Holds::take_out`] took.
    pub(super) fn put_back(&mut self, number: u32, root: &mut u32) {
        *root = heap::insert(&mut Heap::<ACCOUNT>(self), *root, number);
    }

    pub(super) fn expires(&self, number: u32) -> Option<Timestamp> {
        self.get(number).map(|held| held.expires)
    }

    /// The part that expires first of all, with its account.
    pub(super) fn first(&self) -> Option<(Timestamp, Slot)> {
        self.get(self.root).map(|held| (held.expires, held.account))
    }

    /// All open parts of an account.
    pub(super) fn of(&mut self, root: u32) -> Vec<u32> {
        heap::all(&Heap::<ACCOUNT>(self), root)
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
        let mut entries = SmallVec::new();
        held.entries.write_to(&mut entries);
        Some(Part {
            op: held.op.id(),
            account: account.clone(),
            sequence: held.sequence,
            taken: held.taken,
            expires: held.expires,
            end: None,
            entries,
            context: held.context.clone(),
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

struct Heap<'a, const WHICH: usize>(&'a mut Holds);

impl<const WHICH: usize> Nodes for Heap<'_, WHICH> {
    #[inline]
    fn links(&self, node: u32) -> Links {
        self.0.get(node).and_then(|held| held.links.get(WHICH)).copied().unwrap_or(Links::NONE)
    }

    #[inline]
    fn links_mut(&mut self, node: u32) -> Option<&mut Links> {
        self.0.get_mut(node).and_then(|held| held.links.get_mut(WHICH))
    }

    #[inline]
    fn before(&self, a: u32, b: u32) -> bool {
        let (Some(a), Some(b)) = (self.0.get(a), self.0.get(b)) else { return false };
        let order = a.expires.cmp(&b.expires);
        order.then_with(|| a.op.cmp(&b.op)).then_with(|| a.sequence.cmp(&b.sequence)) == Ordering::Less
    }
}
