/// What a packet is for (VIRTIO 1.2, 5.10.6).
enum VsockOperation: UInt16 {
    case request = 1
    case response = 2
    case reset = 3
    case shutdown = 4
    case readWrite = 5
    case creditUpdate = 6
    case creditRequest = 7
}

/// What every packet begins with (VIRTIO 1.2, 5.10.6, `struct virtio_vsock_hdr`).
struct VsockPacket: Equatable {
    static let headerSize = 44
    /// VIRTIO_VSOCK_TYPE_STREAM.
    static let stream: UInt16 = 1
    /// VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE and _F_SEND.
    static let noReceive: UInt32 = 1
    static let noSend: UInt32 = 2

    var sourceCID: UInt64 = 0
    var destinationCID: UInt64 = 0
    var sourcePort: UInt32 = 0
    var destinationPort: UInt32 = 0
    var length: UInt32 = 0
    var type = VsockPacket.stream
    var operation: UInt16 = 0
    var flags: UInt32 = 0
    var bufferAllocation: UInt32 = 0
    var forwardCount: UInt32 = 0

    init() {}

    /// Parses a header; nil if it is cut short.
    init?(parsing bytes: [UInt8]) {
        guard bytes.count >= VsockPacket.headerSize else { return nil }
        func load<T: FixedWidthInteger>(_ offset: Int) -> T {
            var value: T = 0
            for index in (0..<T.bitWidth / 8).reversed() {
                value = value << 8 | T(truncatingIfNeeded: bytes[offset + index])
            }
            return value
        }
        sourceCID = load(0)
        destinationCID = load(8)
        sourcePort = load(16)
        destinationPort = load(20)
        length = load(24)
        type = load(28)
        operation = load(30)
        flags = load(32)
        bufferAllocation = load(36)
        forwardCount = load(40)
    }

    /// Writes the header to the first 44 bytes.
    func emit(to bytes: inout [UInt8]) {
        func store<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
            for index in 0..<T.bitWidth / 8 {
                bytes[offset + index] = UInt8(truncatingIfNeeded: value >> T(index * 8))
            }
        }
        store(sourceCID, 0)
        store(destinationCID, 8)
        store(sourcePort, 16)
        store(destinationPort, 20)
        store(length, 24)
        store(type, 28)
        store(operation, 30)
        store(flags, 32)
        store(bufferAllocation, 36)
        store(forwardCount, 40)
    }
}
