//! Cuts the stream into packets: four octets of length (network order), then that many octets, of which the
//! first is the command.
//!
//! In: octets as they are read, any number at a time. Out: one packet after the other, borrowed from the
//! buffer. Called by `server`. The buffer lives as long as its connection and grows only as far as octets
//! have arrived, so a lying length costs nothing.

/// Octets of length before each packet.
pub const PREFIX: usize = 4;

/// The buffer a connection begins with: the envelope, header and text of an ordinary message fit.
const FIRST: usize = 16 << 10;

/// Why the stream cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// There is no command in it.
    #[error("a packet of length zero")]
    Empty,
    /// Longer than allowed; nothing of it was kept.
    #[error("a packet of {length} octets, over the limit of {limit}")]
    TooLong {
        /// What the peer announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// The read side of a connection.
#[derive(Debug)]
pub struct Cutter {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl Cutter {
    /// An empty buffer; `limit` is the longest packet, its command octet included.
    pub fn new(limit: usize) -> Cutter {
        Cutter { buffer: vec![0; FIRST.min(limit.saturating_add(PREFIX))], start: 0, end: 0, limit }
    }

    /// Room for the next read; never empty. Call [`Cutter::next_packet`] until it gives nothing, then this.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            // Full, and no whole packet in it: `next_packet` has seen that it is within the limit.
            let grown = (self.buffer.len() * 2).min(self.limit.saturating_add(PREFIX)).max(self.end + PREFIX);
            self.buffer.resize(grown, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Takes note that `count` octets were read into [`Cutter::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The next whole packet, its command octet first; `None` when more must be read.
    ///
    /// # Errors
    /// [`PacketError`] as soon as the length is known; the stream cannot be followed from there.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, PacketError> {
        let waiting = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = waiting.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length == 0 {
            return Err(PacketError::Empty);
        }
        if length > self.limit {
            return Err(PacketError::TooLong { length, limit: self.limit });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let data = self.start + PREFIX;
        self.start = data + length;
        Ok(Some(&self.buffer[data..data + length]))
    }

    /// Whether the stream stands inside a packet: its end here would be a cut.
    pub fn is_inside_packet(&self) -> bool {
        self.start != self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(cutter: &mut Cutter, stream: &[u8], at_once: usize) -> Result<Vec<Vec<u8>>, PacketError> {
        let mut found = Vec::new();
        let mut stream = stream;
        while !stream.is_empty() {
            let space = cutter.space();
            let count = space.len().min(stream.len()).min(at_once);
            space[..count].copy_from_slice(&stream[..count]);
            cutter.filled(count);
            stream = &stream[count..];
            while let Some(packet) = cutter.next_packet()? {
                found.push(packet.to_vec());
            }
        }
        Ok(found)
    }

    fn framed(packets: &[&[u8]]) -> Vec<u8> {
        packets.iter().flat_map(|data| [&(data.len() as u32).to_be_bytes()[..], data].concat()).collect()
    }

    #[test]
    fn packets_come_out_the_same_however_the_stream_is_read() {
        let long = vec![b'B'; 70_000];
        let want: Vec<&[u8]> = vec![b"Q", b"Mfrom\0", &long, b"A", b"Hhelo\0"];
        let stream = framed(&want);
        for at_once in [1, 3, 4, 5, 1000, 16 << 10, usize::MAX] {
            let mut cutter = Cutter::new(1 << 20);
            assert_eq!(packets(&mut cutter, &stream, at_once).unwrap(), want, "{at_once} octets at once");
            assert!(!cutter.is_inside_packet());
        }
    }

    #[test]
    fn a_length_of_zero_or_over_the_limit_is_an_error_before_any_octet_of_the_packet_is_read() {
        let too_long = |length| PacketError::TooLong { length, limit: 100 };
        for (length, want) in [(0, PacketError::Empty), (101, too_long(101)), (u32::MAX, too_long(u32::MAX as usize))] {
            let mut cutter = Cutter::new(100);
            assert_eq!(packets(&mut cutter, &length.to_be_bytes(), 4), Err(want), "length {length}");
        }
        let mut cutter = Cutter::new(100);
        assert_eq!(packets(&mut cutter, &framed(&[&[b'B'; 100]]), 7).unwrap(), [[b'B'; 100]]);
    }

    #[test]
    fn a_length_alone_sets_no_memory_aside() {
        let mut cutter = Cutter::new(1 << 30);
        assert_eq!(packets(&mut cutter, &(1u32 << 30).to_be_bytes(), 4).unwrap(), Vec::<Vec<u8>>::new());
        assert!(cutter.is_inside_packet());
        assert_eq!(cutter.space().len(), FIRST - PREFIX);
        assert_eq!(packets(&mut cutter, &[0; 20_000], 1000).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(cutter.buffer.len(), 2 * FIRST);
    }

    #[test]
    fn there_is_always_space_to_read_into() {
        for limit in [1, 2, 60, FIRST - PREFIX, FIRST] {
            let mut cutter = Cutter::new(limit);
            let stream = framed(&[&vec![b'B'; limit], b"A", &vec![b'B'; limit]]);
            assert_eq!(packets(&mut cutter, &stream, 5).unwrap().len(), 3, "limit {limit}");
            assert!(!cutter.space().is_empty(), "limit {limit}");
        }
    }
}
