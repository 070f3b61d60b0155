import ToroCore

/// A connection's state: credit both ways and which ways are still open (VIRTIO 1.2, 5.10.6.3 to
/// 5.10.6.5). No I/O, no time: packets in, verdicts out.
struct VsockConnection {
    /// What to do about a packet that came in.
    enum Verdict: Equatable {
        /// Nothing but that credit or openness may have changed.
        case updated
        /// Its bytes are for the application.
        case data
        /// The peer asks how much room there is.
        case answerCredit
        /// The connection is over.
        case reset
        /// The peer broke the protocol; reset the connection.
        case violation
    }

    /// The most bytes of one packet: what other implementations take (Linux drops longer ones,
    /// VIRTIO_VSOCK_MAX_PKT_BUF_SIZE). The specification names no limit.
    private static var packetLimit: Int { 64 << 10 }

    let addresses: VsockAddresses
    /// The bytes that this side keeps for the application at most.
    let bufferAllocation: UInt32

    // Counters run freely and wrap (5.10.6.3); only differences mean something.
    private var received: UInt32 = 0
    private var forwarded: UInt32 = 0
    private var advertised: UInt32 = 0
    private var peerAllocation: UInt32 = 0

    /// The bytes sent, and those of them that the peer has passed on.
    private(set) var progress = StreamProgress(accepted: 0, acknowledged: 0)
    /// The peer sends no more.
    private(set) var peerFinished = false
    /// The peer takes no more.
    private(set) var peerDeaf = false
    /// This side sends no more.
    var isFinished = false

    /// Whether the peer has ended both directions, and waits for a reset to forget the connection
    /// (5.10.6.6).
    var peerHasClosed: Bool { peerFinished && peerDeaf }

    init(_ addresses: VsockAddresses, bufferAllocation: UInt32) {
        self.addresses = addresses
        self.bufferAllocation = bufferAllocation
    }

    /// How many bytes may be sent now, in one packet.
    var credit: Int {
        let unread = progress.accepted - progress.acknowledged
        return unread >= peerAllocation
            ? 0 : min(Int(UInt64(peerAllocation) - unread), Self.packetLimit)
    }

    /// Whether the peer should hear that there is room again: it believes in less than half.
    var shouldUpdateCredit: Bool {
        forwarded != advertised && received &- advertised > bufferAllocation / 2
    }

    /// Takes in a packet of this connection.
    mutating func receive(_ header: VsockHeader) -> Verdict {
        peerAllocation = header.bufferAllocation
        acknowledge(header.forwardCount)
        switch VsockOperation(rawValue: header.operation) {
        case .readWrite:
            let held = received &- forwarded
            guard !peerFinished, header.length <= bufferAllocation - min(held, bufferAllocation)
            else { return .violation }
            received &+= header.length
            return header.length > 0 ? .data : .updated
        case .shutdown:
            if header.flags & VsockHeader.shutdownSend != 0 { peerFinished = true }
            if header.flags & VsockHeader.shutdownReceive != 0 { peerDeaf = true }
            return .updated
        case .creditUpdate: return .updated
        case .creditRequest: return .answerCredit
        case .reset: return .reset
        case .request, .response, nil: return .violation
        }
    }

    /// The peer has passed on `forwardCount` bytes so far. More than was sent, or fewer than it
    /// said before, changes nothing.
    private mutating func acknowledge(_ forwardCount: UInt32) {
        let unread = UInt64(UInt32(truncatingIfNeeded: progress.accepted) &- forwardCount)
        guard unread < progress.accepted - progress.acknowledged else { return }
        progress.acknowledged = progress.accepted - unread
    }

    /// The application has taken `count` bytes.
    mutating func didForward(_ count: Int) {
        forwarded &+= UInt32(truncatingIfNeeded: count)
    }

    /// The header of the next packet to the peer; its bytes count as sent.
    mutating func header(
        _ operation: VsockOperation, from cid: UInt64, length: Int = 0, flags: UInt32 = 0
    ) -> VsockHeader {
        var header = VsockHeader()
        header.sourceCID = cid
        header.destinationCID = addresses.peerCID
        header.sourcePort = addresses.localPort
        header.destinationPort = addresses.peerPort
        header.length = UInt32(clamping: length)
        header.operation = operation.rawValue
        header.flags = flags
        header.bufferAllocation = bufferAllocation
        header.forwardCount = forwarded
        advertised = forwarded
        progress.accepted &+= UInt64(header.length)
        return header
    }
}
