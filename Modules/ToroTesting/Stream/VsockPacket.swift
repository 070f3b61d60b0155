/// A packet of a virtio socket device (VIRTIO 1.2, 5.10.6), as the host's side makes and reads it.
public struct VsockPacket: Equatable, Sendable {
    /// The sender's context id; 2 is the host's.
    public var sourceCID: UInt64 = 2
    /// The receiver's context id.
    public var destinationCID: UInt64 = 3
    /// The sender's port.
    public var sourcePort: UInt32 = 0
    /// The receiver's port.
    public var destinationPort: UInt32 = 0
    /// What `len` says; the payload's length if nil.
    public var length: UInt32?
    /// 1 for streams.
    public var type: UInt16 = 1
    /// REQUEST 1, RESPONSE 2, RST 3, SHUTDOWN 4, RW 5, CREDIT_UPDATE 6, CREDIT_REQUEST 7.
    public var operation: UInt16 = 0
    /// For SHUTDOWN: 1 no more is received, 2 no more is sent.
    public var flags: UInt32 = 0
    /// The sender's buffer space in bytes.
    public var bufferAllocation: UInt32 = 65_536
    /// How many bytes of what it got the sender has passed on.
    public var forwardCount: UInt32 = 0
    /// The bytes behind the header.
    public var payload: [UInt8] = []

    /// A packet for that operation.
    public init(_ operation: UInt16) { self.operation = operation }

    /// Reads a packet; nil if it is shorter than a header.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count >= 44 else { return nil }
        func number(_ offset: Int, _ size: Int) -> UInt64 {
            bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        sourceCID = number(0, 8)
        destinationCID = number(8, 8)
        sourcePort = UInt32(number(16, 4))
        destinationPort = UInt32(number(20, 4))
        length = UInt32(number(24, 4))
        type = UInt16(number(28, 2))
        operation = UInt16(number(30, 2))
        flags = UInt32(number(32, 4))
        bufferAllocation = UInt32(number(36, 4))
        forwardCount = UInt32(number(40, 4))
        payload = Array(bytes.dropFirst(44))
    }

    /// The bytes of the packet.
    public var bytes: [UInt8] {
        var all: [UInt8] = []
        func add(_ value: UInt64, _ size: Int) {
            for index in 0..<size {
                all.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))))
            }
        }
        add(sourceCID, 8)
        add(destinationCID, 8)
        add(UInt64(sourcePort), 4)
        add(UInt64(destinationPort), 4)
        add(UInt64(length ?? UInt32(payload.count)), 4)
        add(UInt64(type), 2)
        add(UInt64(operation), 2)
        add(UInt64(flags), 4)
        add(UInt64(bufferAllocation), 4)
        add(UInt64(forwardCount), 4)
        return all + payload
    }
}
