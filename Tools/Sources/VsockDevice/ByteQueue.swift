import DequeModule
import Glibc
import VhostUser

/// Bytes in order, in pieces: each is read, sent and freed once.
struct ByteQueue {
    /// The bytes of a piece at most.
    private static let pieceSize = 16 << 10

    private var pieces = Deque<[UInt8]>()
    /// How much of the first piece is gone.
    private var start = 0
    /// The bytes there are.
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// Copies guest memory to the end.
    mutating func append(_ bytes: SegmentList) {
        var rest = bytes
        while rest.count > 0 {
            let last = pieces.count - 1
            let room = last < 0 ? 0 : ByteQueue.pieceSize - pieces[last].count
            let step = min(rest.count, room > 0 ? room : ByteQueue.pieceSize)
            var piece = [UInt8](repeating: 0, count: step)
            guard rest.read(&piece) else { return }
            // Small ones are joined: a guest that sends byte by byte costs no more than bytes.
            if room > 0 { pieces[last] += piece } else { pieces.append(piece) }
            count += step
        }
    }

    mutating func removeAll() { self = ByteQueue() }

    /// Sends from the front, up to the end of a piece; send's result.
    mutating func send(to file: Int32) -> Int {
        guard let first = pieces.first else { return 0 }
        // SAFETY: the pointer and the length stay within the array.
        let sent = unsafe first[start...].withUnsafeBytes {
            unsafe Glibc.send(
                file, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
        guard sent > 0 else { return sent }
        count -= sent
        start += sent
        if start == first.count {
            pieces.removeFirst()
            start = 0
        }
        return sent
    }
}
