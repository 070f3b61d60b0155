/// Both sides' buffers of a connection (VIRTIO 1.2, 5.10.6.3), and where the guest's bytes are: with
/// the client's host, in the socket, or here. Counters run freely; the packets' fields are their
/// lowest 32 bits.
struct Credit: Equatable {
    // The guest's bytes, in the order of their way: each counter is at most the one before.
    /// Those it may send in all. It was promised room for them, and may be sending: never less.
    private var promisedUpTo: UInt64 = 0
    /// Those it has sent.
    private var received: UInt64 = 0
    /// Those that the socket has taken.
    private var written: UInt64 = 0
    /// Those that have left the socket, as far as known.
    private var delivered: UInt64 = 0
    /// Those that the guest knows to have left.
    private var reported: UInt64 = 0

    // The client's bytes.
    private var sent: UInt32 = 0
    private var peerAllocation: UInt32 = 0
    private var peerForwarded: UInt32 = 0

    /// How many bytes the guest has room for.
    var available: Int {
        let unread = sent &- peerForwarded
        return unread >= peerAllocation ? 0 : Int(peerAllocation - unread)
    }

    /// How many bytes the guest may still send.
    var promise: Int { Int(promisedUpTo - received) }

    /// Whether bytes may sit in the socket.
    var isUndelivered: Bool { delivered < written }

    /// Whether more bytes have left than the guest knows of.
    var isReportDue: Bool { reported < delivered }

    /// Whether more bytes are under way, as the guest knows it, than fit into its own buffer.
    var isBeyondOwnBuffer: Bool { received - reported > UInt64(peerAllocation) }

    /// Whether a guest that has no more bytes under way than fit into its own buffer may be about to
    /// wait for news of them.
    var isReportAwaited: Bool { received - reported >= UInt64(peerAllocation / 2) }

    /// Whether the guest should hear that it may send up to `room` bytes: `window` is all it may have
    /// when nothing is under way. It believes in less than half, and gains a quarter.
    func isGrantDue(_ room: Int, window: Int) -> Bool {
        promise < (window + 1) / 2 && room - promise >= (window + 3) / 4
    }

    /// Takes the guest's side from a packet.
    mutating func update(_ packet: VsockPacket) {
        peerAllocation = packet.bufferAllocation
        peerForwarded = packet.forwardCount
    }

    /// Takes bytes in; false if the guest sent more than it may.
    mutating func receive(_ count: Int) -> Bool {
        guard count <= promise else { return false }
        received += UInt64(count)
        return true
    }

    /// The socket took bytes.
    mutating func write(_ count: Int) { written += UInt64(count) }

    /// That many bytes at most are left in the socket; true if some have gone. The number may be too
    /// large: the end of the stream counts, and of a Unix socket what buffers cost.
    mutating func deliver(unsent: Int) -> Bool {
        let left = min(UInt64(unsent), written - delivered)
        defer { delivered = written - left }
        return delivered < written - left
    }

    /// Bytes went to the guest.
    mutating func send(_ count: Int) { sent &+= UInt32(truncatingIfNeeded: count) }

    /// Promises the guest room for that many bytes, if that is more than it was promised.
    mutating func grant(_ room: Int) {
        promisedUpTo = max(promisedUpTo, received + UInt64(max(room, 0)))
    }

    /// Writes this side's numbers into a packet, which the guest will see. What sits in the socket
    /// counts as kept, so that the guest knows what has left: the buffer is larger by as much.
    mutating func stamp(_ packet: inout VsockPacket) {
        packet.bufferAllocation = UInt32(clamping: promisedUpTo - delivered)
        packet.forwardCount = UInt32(truncatingIfNeeded: delivered)
        reported = delivered
    }
}
