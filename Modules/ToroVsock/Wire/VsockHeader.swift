import ToroCore

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

/// The ends of a connection.
struct VsockAddresses: Equatable, Sendable {
    var peerCID: UInt64
    var peerPort: UInt32
    var localPort: UInt32
}

/// What every packet begins with (VIRTIO 1.2, 5.10.6, `struct virtio_vsock_hdr`).
struct VsockHeader: Equatable, Sendable {
    static var size: Int { 44 }
    /// VIRTIO_VSOCK_TYPE_STREAM.
    static var stream: UInt16 { 1 }
    /// VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE and _F_SEND.
    static var shutdownReceive: UInt32 { 1 }
    static var shutdownSend: UInt32 { 2 }

    var sourceCID: UInt64 = 0
    var destinationCID: UInt64 = 0
    var sourcePort: UInt32 = 0
    var destinationPort: UInt32 = 0
    var length: UInt32 = 0
    var type = VsockHeader.stream
    var operation: UInt16 = 0
    var flags: UInt32 = 0
    var bufferAllocation: UInt32 = 0
    var forwardCount: UInt32 = 0

    init() {}

    /// Parses a header, nil if it is cut short.
    init?(parsing span: RawSpan) {
        guard span.byteCount >= VsockHeader.size else { return nil }
        func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> T {
            // SAFETY: the span is as long as a header, and every offset below lies in it.
            unsafe T(littleEndian: span.unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
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

    /// Writes the header to `memory`, from `offset` on, if there is room.
    func emit(to memory: inout MutableRawSpan, at offset: Int) {
        guard offset >= 0, memory.byteCount - offset >= VsockHeader.size else { return }
        func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, _ place: Int) {
            // SAFETY: the memory goes on for a header's length behind `offset`.
            unsafe memory.storeBytes(
                of: value.littleEndian, toUncheckedByteOffset: offset &+ place, as: T.self)
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
