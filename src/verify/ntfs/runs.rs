//! Mapping pairs: which clusters a stream has.

/// Clusters that follow each other in the stream and on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) vcn: u64,
    /// `None` for a hole.
    pub(super) lcn: Option<u64>,
    pub(super) len: u64,
}

impl Run {
    pub(super) fn end(&self) -> u64 {
        self.vcn + self.len
    }
}

/// The longest stream in clusters; lengths beyond make no sense, and sums of such lengths do not overflow.
const MAX_VCN: u64 = 1 << 52;

/// Appends the runs that `pairs` stand for, the first of which begins at `vcn`; the volume has `clusters`.
///
/// Says in words what is wrong with them. Lengths and distances are signed.
pub(super) fn decode(pairs: &[u8], mut vcn: u64, clusters: u64, runs: &mut Vec<Run>) -> Result<(), String> {
    let mut at = 0;
    let mut lcn = 0i64;
    loop {
        let head = *pairs.get(at).ok_or("mapping pairs without an end")?;
        if head == 0 {
            return Ok(());
        }
        let (len_size, lcn_size) = (usize::from(head & 15), usize::from(head >> 4));
        if !(1..=8).contains(&len_size) || lcn_size > 8 {
            return Err(format!("a mapping pair that begins with {head:#04x}"));
        }
        let len_at = at + 1;
        let lcn_at = len_at + len_size;
        at = lcn_at + lcn_size;
        let field = |range| pairs.get(range).map(signed).ok_or("a mapping pair beyond the attribute's end");
        let len = field(len_at..lcn_at)?;
        let len = u64::try_from(len).ok().filter(|len| *len > 0).ok_or_else(|| format!("a run of {len} clusters"))?;
        if vcn.saturating_add(len) > MAX_VCN {
            return Err(format!("a run of {len} clusters at VCN {vcn}"));
        }
        let mut run = Run { vcn, lcn: None, len };
        if lcn_size > 0 {
            lcn = lcn.checked_add(field(lcn_at..at)?).ok_or("a run of clusters beyond any volume")?;
            let start = u64::try_from(lcn).ok().filter(|start| start.saturating_add(len) <= clusters);
            run.lcn = Some(start.ok_or_else(|| {
                format!("clusters {lcn} to {} of a volume of {clusters}", lcn.saturating_add(len as i64 - 1))
            })?);
        }
        runs.push(run);
        vcn += len;
    }
}

/// At most eight little-endian bytes as a signed number.
fn signed(bytes: &[u8]) -> i64 {
    let mut wide = [if bytes.last().is_some_and(|byte| *byte >= 0x80) { 0xFF } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_distances_are_signed() {
        let mut runs = Vec::new();
        decode(&[0x11, 5, 100, 0x11, 2, 0xF0, 0x01, 7, 0x21, 1, 0x80, 0x00, 0], 3, 1000, &mut runs).unwrap();
        let found: Vec<_> = runs.iter().map(|run| (run.vcn, run.lcn, run.len)).collect();
        assert_eq!(found, [(3, Some(100), 5), (8, Some(84), 2), (10, None, 7), (17, Some(212), 1)]);
        for evil in [
            &[0x11, 0x80, 1, 0][..],
            &[0x11, 0, 1, 0],
            &[0x11, 1, 0xFF, 0],
            &[0x11, 1],
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            &[0x10, 1, 0],
            &[0x21, 2, 0xE7, 3, 0],
            &[],
            &[0x88, 255, 255, 255, 255, 255, 255, 255, 127, 255, 255, 255, 255, 255, 255, 255, 127, 0],
        ] {
            assert!(decode(evil, 0, 1000, &mut Vec::new()).is_err(), "{evil:x?}");
        }
    }
}
