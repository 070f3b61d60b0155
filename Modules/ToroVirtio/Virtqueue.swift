import CToroVirtio
import ToroCore

/// A piece of memory in a descriptor chain.
public struct VirtqueueSegment: Equatable, Sendable {
    /// Its address as the device sees it.
    public var address: UInt64
    /// Its length in bytes.
    public var length: UInt32
    /// Whether the device writes it; otherwise it reads it.
    public var isDeviceWritable: Bool

    /// Memory the device reads.
    public static func readable(_ address: UInt64, _ length: Int) -> VirtqueueSegment {
        VirtqueueSegment(
            address: address, length: UInt32(clamping: length), isDeviceWritable: false)
    }

    /// Memory the device writes.
    public static func writable(_ address: UInt64, _ length: Int) -> VirtqueueSegment {
        VirtqueueSegment(address: address, length: UInt32(clamping: length), isDeviceWritable: true)
    }
}

/// How a device broke the rules of a virtqueue. The queue takes no more.
public enum VirtqueueError: ToroError, Equatable {
    /// The used index ran ahead of what is in flight.
    case usedIndexJumped(from: UInt16, to: UInt16, inFlight: UInt16)
    /// A used element names a chain that is not in flight.
    case unknownChain(UInt32)
    /// The device says it wrote more than the chain has room for.
    case lengthTooLarge(UInt32, capacity: UInt32)

    /// What was wrong and what to do.
    public var explanation: String {
        "the virtio device broke the rules of its queue; restart the guest"
    }
}

/// The driver's side of a split virtqueue (VIRTIO 1.2, section 2.7).
///
/// Chains are named by a slot, 0 to `size - 1`, under which the driver keeps what belongs to them
/// (buffers, continuations) in a table of its own. The queue neither owns nor copies memory that
/// segments point to: the driver keeps it alive until the slot comes back from ``popUsed()``.
///
///     queue.add(segments) → slot      the chain is written
///     queue.publish() → notify?       the device may see all that was added
///     queue.popUsed() → slot, bytes   the device is done with a chain
///
/// Everything the device writes is copied once and checked.
@safe public struct Virtqueue: ~Copyable {
    /// Its index in the device.
    public let index: UInt16
    /// The number of slots, a power of two.
    public let size: UInt16
    /// The number of chains the device holds.
    public private(set) var inFlight: UInt16 = 0
    /// The most segments a chain may have.
    public static let maximumSegments = 8

    private let memory: IOBuffer
    private let base: UnsafeMutableRawPointer
    private let usesIndirect: Bool
    private let usesEventIndex: Bool
    private let availableOffset: Int
    private let usedOffset: Int
    private let indirectOffset: Int
    private let chainOffset: Int

    private var freeHead: UInt16 = 0
    private var freeCount: UInt16
    private var availableIndex: UInt16 = 0
    private var publishedIndex: UInt16 = 0
    private var lastUsed: UInt16 = 0
    private var isBroken = false

    /// What is known of the chain in a slot: the bytes the device may write, and the descriptors
    /// it takes, 0 in a free slot. Behind all that the device is told of.
    private struct Chain {
        var writable: UInt32
        var descriptors: UInt32
    }

    private enum Flag {
        static var next: UInt16 { 1 }
        static var write: UInt16 { 2 }
        static var indirect: UInt16 { 4 }
    }

    /// An empty queue with `size` slots, a power of two, for a device with these features.
    public init(index: UInt16, size: UInt16, features: VirtioFeatures) throws(OutOfMemory) {
        self.index = index
        self.size = size
        usesIndirect = features.contains(.indirectDescriptors)
        usesEventIndex = features.contains(.eventIndex)
        let count = Int(size)
        availableOffset = 16 * count
        usedOffset = (availableOffset + 6 + 2 * count + 3) & ~3
        indirectOffset = (usedOffset + 6 + 8 * count + 15) & ~15
        let tables = usesIndirect ? count * Virtqueue.maximumSegments * 16 : 0
        chainOffset = indirectOffset + tables
        memory = try IOBuffer(
            capacity: chainOffset + count * MemoryLayout<Chain>.size, alignment: 4096)
        // SAFETY: the pointer is used while `self`, and so `memory`, lives.
        unsafe base = memory.unsafePointer
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: memory.capacity)
        freeCount = size
        for slot in 0..<size { setNext(slot &+ 1, ofDescriptor: slot) }
    }

    /// Where the device finds the three parts.
    public var addresses: VirtqueueAddresses {
        let start = memory.deviceAddress
        return VirtqueueAddresses(
            descriptorTable: start, availableRing: start + UInt64(availableOffset),
            usedRing: start + UInt64(usedOffset))
    }

    /// Whether a chain of `segments` segments can be added now.
    public func hasRoom(for segments: Int) -> Bool {
        !isBroken && segments <= Virtqueue.maximumSegments
            && Int(freeCount) >= (usesIndirect ? 1 : segments)
    }

    /// The slot that ``add(_:)`` will use; no slot in flight has this number.
    public var nextSlot: UInt16 { freeHead }

    /// Adds a chain, device-readable segments first; nil if there is no room, if there are none
    /// or too many segments, or after the device broke the rules. The device sees it after
    /// ``publish()``.
    public mutating func add(_ segments: Span<VirtqueueSegment>) -> UInt16? {
        guard segments.count > 0, hasRoom(for: segments.count) else { return nil }
        let slot = freeHead
        var writable: UInt32 = 0
        for position in segments.indices where segments[position].isDeviceWritable {
            writable = writable.addingReportingOverflow(segments[position].length).partialValue
        }
        if usesIndirect {
            addIndirect(segments, slot)
        } else {
            addDirect(segments, slot)
        }
        let taken = usesIndirect ? 1 : UInt16(segments.count)
        setChain(Chain(writable: writable, descriptors: UInt32(taken)), inSlot: slot)
        freeCount -= taken
        inFlight += 1
        let position = Int(availableIndex & (size - 1))
        store16(slot, at: availableOffset + 4 + 2 * position)
        availableIndex &+= 1
        return slot
    }

    /// Makes what was added visible to the device; true if the device wants to be notified.
    public mutating func publish() -> Bool {
        let (old, new) = (publishedIndex, availableIndex)
        guard old != new else { return false }
        unsafe toro_virtio_store16(base + availableOffset + 2, new)
        publishedIndex = new
        toro_virtio_fence()
        guard usesEventIndex else {
            return unsafe toro_virtio_load16(base + usedOffset) & 1 == 0
        }
        let event = unsafe toro_virtio_load16(base + usedOffset + 4 + 8 * Int(size))
        return new &- event &- 1 < new &- old
    }

    /// The next chain the device is done with, and how many bytes it says it wrote; nil if there
    /// is none. Throws when the device breaks the rules; the queue gives and takes nothing then.
    public mutating func popUsed() throws(VirtqueueError) -> (slot: UInt16, written: Int)? {
        guard !isBroken else { return nil }
        let used = unsafe toro_virtio_load16(base + usedOffset + 2)
        guard used != lastUsed else { return nil }
        guard used &- lastUsed <= inFlight else {
            isBroken = true
            throw .usedIndexJumped(from: lastUsed, to: used, inFlight: inFlight)
        }
        let element = usedOffset + 4 + 8 * Int(lastUsed & (size - 1))
        let id = unsafe toro_virtio_load32(base + element)
        let written = unsafe toro_virtio_load32(base + element + 4)
        guard id < UInt32(size) else {
            isBroken = true
            throw .unknownChain(id)
        }
        let slot = UInt16(id)
        let chain = chain(inSlot: slot)
        guard chain.descriptors != 0 else {
            isBroken = true
            throw .unknownChain(id)
        }
        guard written <= chain.writable else {
            isBroken = true
            throw .lengthTooLarge(written, capacity: chain.writable)
        }
        lastUsed &+= 1
        release(slot, UInt16(truncatingIfNeeded: chain.descriptors))
        return (slot, Int(written))
    }

    /// Whether the device has finished a chain that ``popUsed()`` has not returned yet.
    public var hasUsed: Bool {
        guard !isBroken else { return false }
        return unsafe toro_virtio_load16(base + usedOffset + 2) != lastUsed
    }

    /// What the device holds; nil if that is nothing. For queues whose chains it gives back promptly.
    public var debt: DeviceDebt? {
        guard inFlight > 0, !isBroken else { return nil }
        let used = unsafe toro_virtio_load16(base + usedOffset + 2)
        guard usesEventIndex else {
            let isAwake = unsafe toro_virtio_load16(base + usedOffset) & 1 != 0
            return DeviceDebt(position: UInt64(used), isUnseen: !isAwake)
        }
        // A device that has seen every chain asks to hear of the next one (2.7.10).
        let event = unsafe toro_virtio_load16(base + usedOffset + 4 + 8 * Int(size))
        let unseen = publishedIndex &- event
        return DeviceDebt(
            position: UInt64(used) << 16 | UInt64(event), isUnseen: 1...inFlight ~= unseen)
    }

    /// Asks for an interrupt when the next chain is done; false if one is done already.
    public mutating func arm() -> Bool {
        if usesEventIndex {
            unsafe toro_virtio_store16(base + availableOffset + 4 + 2 * Int(size), lastUsed)
        } else {
            unsafe toro_virtio_store16(base + availableOffset, 0)
        }
        toro_virtio_fence()
        return !hasUsed
    }

    /// Says that interrupts are not needed until ``arm()``.
    public mutating func disarm() {
        if usesEventIndex {
            // An index half the number range away: not reached before the next `arm`.
            unsafe toro_virtio_store16(
                base + availableOffset + 4 + 2 * Int(size), lastUsed &+ 0x8000)
        } else {
            unsafe toro_virtio_store16(base + availableOffset, 1)
        }
    }

    private mutating func addIndirect(_ segments: Span<VirtqueueSegment>, _ slot: UInt16) {
        let table = indirectOffset + Int(slot) * Virtqueue.maximumSegments * 16
        for position in segments.indices {
            let isLast = position == segments.count - 1
            describe(
                segments[position], at: table + 16 * position,
                next: isLast ? nil : UInt16(position + 1))
        }
        freeHead = next(ofDescriptor: slot)
        let offset = 16 * Int(slot)
        let address = memory.deviceAddress + UInt64(table)
        unsafe base.storeBytes(of: address, toByteOffset: offset, as: UInt64.self)
        unsafe base.storeBytes(
            of: UInt32(segments.count * 16), toByteOffset: offset + 8, as: UInt32.self)
        store16(Flag.indirect, at: offset + 12)
    }

    private mutating func addDirect(_ segments: Span<VirtqueueSegment>, _ slot: UInt16) {
        var descriptor = slot
        for position in segments.indices {
            let following = next(ofDescriptor: descriptor)
            let isLast = position == segments.count - 1
            describe(
                segments[position], at: 16 * Int(descriptor), next: isLast ? nil : following)
            setNext(following, ofDescriptor: descriptor)
            descriptor = following
        }
        freeHead = descriptor
    }

    private func describe(_ segment: VirtqueueSegment, at offset: Int, next: UInt16?) {
        unsafe base.storeBytes(of: segment.address, toByteOffset: offset, as: UInt64.self)
        unsafe base.storeBytes(of: segment.length, toByteOffset: offset + 8, as: UInt32.self)
        let write = segment.isDeviceWritable ? Flag.write : 0
        store16(write | (next == nil ? 0 : Flag.next), at: offset + 12)
        store16(next ?? 0, at: offset + 14)
    }

    private mutating func release(_ slot: UInt16, _ descriptors: UInt16) {
        var last = slot
        for _ in 1..<max(descriptors, 1) { last = next(ofDescriptor: last) }
        setNext(freeHead, ofDescriptor: last)
        freeHead = slot
        freeCount += descriptors
        inFlight -= 1
        setChain(Chain(writable: 0, descriptors: 0), inSlot: slot)
    }

    // The free list runs through the descriptors' own `next` fields, which the device never
    // writes; the index is masked all the same, so that no value leads outside the table.
    private func next(ofDescriptor descriptor: UInt16) -> UInt16 {
        let raw = unsafe toro_virtio_load16(base + 16 * Int(descriptor) + 14)
        return raw & (size - 1)
    }

    private func setNext(_ next: UInt16, ofDescriptor descriptor: UInt16) {
        store16(next, at: 16 * Int(descriptor) + 14)
    }

    private func chain(inSlot slot: UInt16) -> Chain {
        // SAFETY: slots are below `size`, and there is a chain's place for each.
        unsafe base.load(fromByteOffset: chainOffset + 8 * Int(slot), as: Chain.self)
    }

    private func setChain(_ chain: Chain, inSlot slot: UInt16) {
        // SAFETY: as above.
        unsafe base.storeBytes(
            of: chain, toByteOffset: chainOffset + 8 * Int(slot), as: Chain.self)
    }

    private func store16(_ value: UInt16, at offset: Int) {
        // SAFETY: every offset that is passed lies in the queue's memory.
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
    }
}
