// Embedded Swift has no weak references; a guest needs no device to play with.
#if !hasFeature(Embedded)
import ToroVirtio

/// The device's side of a split virtqueue (VIRTIO 1.2, section 2.7), written after the
/// specification and apart from the driver's.
@safe public struct MockQueue {
    /// The number of descriptors.
    public let size: UInt16
    private let descriptors: UInt
    private let available: UInt
    private let used: UInt
    /// How many chains were taken.
    public private(set) var taken: UInt16 = 0

    init(size: UInt16, at addresses: VirtqueueAddresses) {
        self.size = size
        descriptors = UInt(addresses.descriptorTable)
        available = UInt(addresses.availableRing)
        used = UInt(addresses.usedRing)
    }

    /// Takes the next chain that the driver has made available; nil if there is none.
    public mutating func take() -> MockChain? {
        // avail_event: the next chain is to be announced (2.7.10).
        MockQueue.store(taken, used + 4 + 8 * UInt(size))
        guard MockQueue.load(UInt16.self, available + 2) != taken else { return nil }
        let place = available + 4 + 2 * UInt(taken % size)
        taken &+= 1
        return chain(MockQueue.load(UInt16.self, place))
    }

    private func chain(_ head: UInt16) -> MockChain {
        var chain = MockChain(head: head, readable: [], writable: [])
        var table = descriptors
        var index = UInt(head)
        for _ in 0..<1024 {
            let entry = table + 16 * index
            let address = UInt(MockQueue.load(UInt64.self, entry))
            let length = Int(MockQueue.load(UInt32.self, entry + 8))
            let flags = MockQueue.load(UInt16.self, entry + 12)
            if flags & 4 != 0 {
                precondition(length % 16 == 0, "an indirect table of half a descriptor")
                (table, index) = (address, 0)
                continue
            }
            if flags & 2 == 0 {
                precondition(chain.writable.isEmpty, "a readable segment behind a writable one")
                chain.readable += MockQueue.bytes(address, length)
            } else {
                chain.writable.append((address, length))
            }
            guard flags & 1 != 0 else { return chain }
            index = UInt(MockQueue.load(UInt16.self, entry + 14))
        }
        preconditionFailure("a chain without an end")
    }

    /// Puts a chain into the used ring; `written` and `head` may be lies.
    public func give(head: UInt32, written: UInt32) {
        let index = MockQueue.load(UInt16.self, used + 2)
        let entry = used + 4 + 8 * UInt(index % size)
        MockQueue.store(head, entry)
        MockQueue.store(written, entry + 4)
        MockQueue.store(index &+ 1, used + 2)
    }

    /// Sets the used ring's index to anything.
    public func setUsedIndex(_ index: UInt16) { MockQueue.store(index, used + 2) }

    /// Sets the index from which on the device wants to be notified (avail_event) to anything.
    public func setAvailableEvent(_ index: UInt16) {
        MockQueue.store(index, used + 4 + 8 * UInt(size))
    }

    /// Overwrites the whole used ring behind its flags.
    public func scribble(_ next: () -> UInt8) {
        for offset in 2..<4 + 8 * UInt(size) { MockQueue.store(next(), used + offset) }
    }

    private static func load<Value: BitwiseCopyable>(_ type: Value.Type, _ address: UInt) -> Value {
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: address) else {
            preconditionFailure("the driver gave the address 0")
        }
        // SAFETY: the driver keeps the memory of its rings and chains alive.
        return unsafe pointer.loadUnaligned(as: type)
    }

    static func store<Value: BitwiseCopyable>(_ value: Value, _ address: UInt) {
        // SAFETY: as for `load`.
        unsafe UnsafeMutableRawPointer(bitPattern: address)?.storeBytes(of: value, as: Value.self)
    }

    private static func bytes(_ address: UInt, _ count: Int) -> [UInt8] {
        (0..<UInt(count)).map { load(UInt8.self, address + $0) }
    }
}

/// A chain that a device has taken.
public struct MockChain {
    /// Its first descriptor.
    public let head: UInt16
    /// What the driver says.
    public var readable: [UInt8]
    /// Where the device may answer.
    public var writable: [(address: UInt, length: Int)]

    /// The room for an answer, in bytes.
    public var capacity: Int { writable.reduce(0) { $0 + $1.length } }

    /// Writes an answer, as far as it fits; the number of bytes.
    @discardableResult public func write(_ bytes: [UInt8]) -> Int {
        var rest = bytes[...]
        for segment in writable {
            for (offset, byte) in rest.prefix(segment.length).enumerated() {
                MockQueue.store(byte, segment.address + UInt(offset))
            }
            rest = rest.dropFirst(segment.length)
        }
        return bytes.count - rest.count
    }
}

extension MockVirtioDevice {
    /// Answers a chain and interrupts. `written` may be a lie.
    public func finish(_ chain: MockChain, of queue: Int, _ answer: [UInt8], written: Int? = nil) {
        let count = chain.write(answer)
        queues[queue]?.give(
            head: UInt32(chain.head), written: UInt32(truncatingIfNeeded: written ?? count))
        interrupt()
    }
}
#endif
