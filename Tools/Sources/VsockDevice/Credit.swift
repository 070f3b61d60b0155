/// Both sides' buffers of a connection (VIRTIO 1.2, 5.10.6.3). Counters wrap; only differences
/// mean something.
struct Credit: Equatable {
    /// The bytes this side keeps at most.
    let allocation: UInt32
    private var received: UInt32 = 0
    private var forwarded: UInt32 = 0
    private var advertised: UInt32 = 0
    private var sent: UInt32 = 0
    private var peerAllocation: UInt32 = 0
    private var peerForwarded: UInt32 = 0

    init(allocation: UInt32) { self.allocation = allocation }

    /// How many bytes the guest has room for.
    var available: Int {
        let unread = sent &- peerForwarded
        return unread >= peerAllocation ? 0 : Int(peerAllocation - unread)
    }

    /// Whether the guest should hear that there is room: it believes in less than half.
    var isUpdateDue: Bool { forwarded != advertised && received &- advertised > allocation / 2 }

    /// Takes the guest's side from a packet.
    mutating func update(_ packet: VsockPacket) {
        peerAllocation = packet.bufferAllocation
        peerForwarded = packet.forwardCount
    }

    /// Takes bytes in; false if the guest sent more than it may.
    mutating func receive(_ count: Int) -> Bool {
        let held = received &- forwarded
        guard count <= Int(allocation) - Int(min(held, allocation)) else { return false }
        received &+= UInt32(count)
        return true
    }

    /// Bytes went on to the socket.
    mutating func forward(_ count: Int) { forwarded &+= UInt32(truncatingIfNeeded: count) }

    /// Bytes went to the guest.
    mutating func send(_ count: Int) { sent &+= UInt32(truncatingIfNeeded: count) }

    /// Writes this side's numbers into a packet, which the guest will see.
    mutating func stamp(_ packet: inout VsockPacket) {
        packet.bufferAllocation = allocation
        packet.forwardCount = forwarded
        advertised = forwarded
    }
}
