//! What edges counted against limits, in blocks of the table that analytics has in memory: as many rows as that has
//! blocks, whatever comes.

use protocol::{Millis, Tier};
use redb::ReadableTable as _;

use super::{Error, Store, tables::LIMITS};
use crate::limits::{Block, Caller};

/// Bytes of a caller in a row.
const CALLER: usize = 20;

impl Store {
    /// All blocks of the limits that this version knows.
    pub(crate) fn limits(&self) -> Result<Vec<Block>, Error> {
        self.read(|reader| {
            let table = reader.open_table(LIMITS)?;
            let mut blocks = Vec::new();
            for row in table.iter()? {
                let (key, callers) = row?;
                let (tier, number) = key.value();
                let Some(tier) = Tier::ALL.into_iter().find(|known| known.name() == tier) else { continue };
                blocks.push(Block { tier, number, callers: unpack(callers.value()) });
            }
            Ok(blocks)
        })
    }

    /// Writes these blocks over what was there. One that holds nobody is no row.
    pub(crate) fn keep_limits(&self, blocks: &[Block]) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(LIMITS)?;
            for block in blocks {
                let key = (block.tier.name(), block.number);
                if block.callers.is_empty() {
                    table.remove(key)?;
                } else {
                    table.insert(key, pack(&block.callers).as_slice())?;
                }
            }
            Ok(())
        })
    }

    /// Writes these blocks and nothing else: for a table of another size.
    pub(crate) fn replace_limits(&self, blocks: &[Block]) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(LIMITS)?;
            table.retain(|_, _| false)?;
            for block in blocks {
                table.insert((block.tier.name(), block.number), pack(&block.callers).as_slice())?;
            }
            Ok(())
        })
    }
}

fn pack(callers: &[Caller]) -> Vec<u8> {
    let mut row = Vec::with_capacity(callers.len() * CALLER);
    for caller in callers {
        row.extend_from_slice(&caller.key.to_be_bytes());
        row.extend_from_slice(&caller.until.0.to_be_bytes());
        row.extend_from_slice(&caller.used.to_be_bytes());
    }
    row
}

fn unpack(row: &[u8]) -> Vec<Caller> {
    let (callers, _) = row.as_chunks::<CALLER>();
    let numbers = callers.iter().map(|caller| {
        let (key, rest) = caller.split_at(8);
        let (until, used) = rest.split_at(8);
        Caller {
            key: u64::from_be_bytes(key.try_into().expect("8 bytes")),
            until: Millis(i64::from_be_bytes(until.try_into().expect("8 bytes"))),
            used: u32::from_be_bytes(used.try_into().expect("4 bytes")),
        }
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Disk;

    fn block(tier: Tier, number: u32, callers: u64) -> Block {
        let caller = |n| Caller { key: u64::MAX - n, until: Millis(i64::MAX - 1), used: u32::MAX };
        Block { tier, number, callers: (0..callers).map(caller).collect() }
    }

    #[test]
    fn blocks_are_kept_replaced_and_removed() {
        let store = Disk::default().store();
        assert_eq!(store.limits().unwrap(), []);
        store.keep_limits(&[block(Tier::Ip, 7, 128), block(Tier::IpDay, 7, 1), block(Tier::Ip, 3, 1)]).unwrap();
        store.keep_limits(&[block(Tier::Ip, 7, 2), block(Tier::IpDay, 7, 0), block(Tier::Late, 1, 0)]).unwrap();
        assert_eq!(store.limits().unwrap(), [block(Tier::Ip, 3, 1), block(Tier::Ip, 7, 2)]);
        store.replace_limits(&[block(Tier::SiteDay, 0, 5)]).unwrap();
        assert_eq!(store.limits().unwrap(), [block(Tier::SiteDay, 0, 5)]);
    }

    #[test]
    fn a_limit_of_a_later_version_is_left_out() {
        let store = Disk::default().store();
        let later = |transaction: &redb::WriteTransaction| {
            transaction.open_table(LIMITS)?.insert(("later", 0), [1; 41].as_slice())?;
            Ok(())
        };
        store.write(later).unwrap();
        store.keep_limits(&[block(Tier::Ip, 0, 1)]).unwrap();
        assert_eq!(store.limits().unwrap(), [block(Tier::Ip, 0, 1)]);
    }
}
