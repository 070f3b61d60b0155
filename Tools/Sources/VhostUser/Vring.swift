import CHostShims
import Glibc

/// A guest broke the rules of a split virtqueue (VIRTIO 1.2, section 2.7).
public enum VringError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The available index is further ahead than the ring is long.
    case availableIndex
    /// A chain is longer than the ring, refers beyond its table or nests tables.
    case chain
    /// A descriptor names memory that the guest does not have.
    case address

    /// What is wrong with the ring, in words.
    public var description: String {
        switch self {
        case .availableIndex: "its available index is further ahead than the ring is long"
        case .chain:
            """
            a descriptor chain does not end, leaves its table, nests tables or has room before bytes
            """
        case .address: "a descriptor names memory that the guest does not have"
        }
    }
}

/// The device's side of a split virtqueue in the memory of a guest that may be hostile.
@safe public final class Vring {
    static let eventIndexFeature: UInt64 = 1 << 29
    static let indirectFeature: UInt64 = 1 << 28

    private let memory: GuestMemory
    private let size: UInt16
    private let descriptors: GuestRange
    private let available: GuestRange
    private let used: GuestRange
    private let hasEventIndex: Bool
    private let hasIndirect: Bool

    /// The next entry of the available ring to take.
    public private(set) var nextAvailable: UInt16
    private var usedIndex: UInt16
    /// The used index when the guest was last told.
    private var signalled: UInt16
    private var suppressed = false
    /// What the guest wished when it was last shown something.
    private var shown = Wishes()
    /// The used_event that an interrupt was last the answer to.
    private var answered: UInt16?
    /// What the guest wished when it was notified again.
    private var reminded: Wishes?

    // The chain at hand.
    @unsafe private let segments: UnsafeMutableBufferPointer<iovec>
    private var readableCount = 0
    private var segmentCount = 0
    private var head: UInt16 = 0

    /// The ring at those front-end addresses; nil if it does not lie in memory.
    init?(
        _ memory: GuestMemory, size: UInt16, descriptors: UInt64, available: UInt64, used: UInt64,
        base: UInt16, features: UInt64
    ) {
        let count = Int(size)
        guard size > 0, size <= 1024, size & (size - 1) == 0,
            descriptors % 16 == 0, available % 2 == 0, used % 4 == 0,
            let descriptors = memory.range(user: descriptors, count: 16 * count),
            let available = memory.range(user: available, count: 6 + 2 * count),
            let used = memory.range(user: used, count: 6 + 8 * count)
        else { return nil }
        self.memory = memory
        self.size = size
        self.descriptors = descriptors
        self.available = available
        self.used = used
        hasEventIndex = features & Vring.eventIndexFeature != 0
        hasIndirect = features & Vring.indirectFeature != 0
        nextAvailable = base
        // SAFETY: the used ring holds its index at byte 2.
        usedIndex = unsafe toro_load16(used.start + 2)
        signalled = usedIndex
        unsafe segments = .allocate(capacity: 1024)
    }

    deinit { unsafe segments.deallocate() }

    // MARK: Chains

    /// Takes the next chain the guest offers; false if there is none.
    public func take() throws(VringError) -> Bool {
        // SAFETY: the available ring holds its index at byte 2.
        let index = unsafe toro_load16(available.start + 2)
        let ahead = index &- nextAvailable
        guard ahead > 0 else { return false }
        guard ahead <= size else { throw .availableIndex }
        let place = Int(nextAvailable & (size - 1))
        // SAFETY: the place is less than the size, and the entries begin at byte 4.
        head = unsafe toro_load16(available.start + 4 + 2 * place)
        nextAvailable &+= 1
        segmentCount = 0
        readableCount = 0
        guard head < size else { throw .chain }
        try follow(descriptors, Int(size), from: Int(head), mayNest: hasIndirect)
        return true
    }

    /// Takes the next chain, and needs no kick for those behind it; if there is none, asks for a
    /// kick with the next one.
    public func takeOrArm() throws(VringError) -> Bool {
        if try take() {
            disarm()
            return true
        }
        return arm() ? try take() : false
    }

    /// Gives the chain back to the ring, as if it had not been taken.
    public func putBack() { nextAvailable &-= 1 }

    private struct Descriptor {
        var address: UInt64
        var length: Int
        var flags: UInt16
        var next: UInt16
    }

    private func load(_ table: GuestRange, _ index: Int) -> Descriptor {
        // SAFETY: the caller checked that the table has the entry.
        let address = unsafe toro_load64(table.start + 16 * index)
        let rest = unsafe toro_load64(table.start + 16 * index + 8)
        return Descriptor(
            address: address, length: Int(rest & 0xffff_ffff),
            flags: UInt16(truncatingIfNeeded: rest >> 32),
            next: UInt16(truncatingIfNeeded: rest >> 48))
    }

    private func follow(
        _ table: GuestRange, _ count: Int, from first: Int, mayNest: Bool
    ) throws(VringError) {
        var index = first
        for _ in 0..<count {
            let descriptor = load(table, index)
            if descriptor.flags & 4 != 0 {
                guard mayNest else { throw .chain }
                try follow(indirect: descriptor)
                return
            }
            try append(descriptor)
            guard descriptor.flags & 1 != 0 else { return }
            guard descriptor.next < count else { throw .chain }
            index = Int(descriptor.next)
        }
        throw .chain
    }

    /// A table of its own in guest memory (2.7.5.3), and never nested. Where it lies says nothing:
    /// the guest may name the ring's own table.
    private func follow(indirect descriptor: Descriptor) throws(VringError) {
        guard descriptor.flags & 1 == 0, descriptor.length % 16 == 0, descriptor.length > 0,
            descriptor.length / 16 <= 1024, descriptor.address % 8 == 0
        else { throw .chain }
        guard let inner = memory.range(guest: descriptor.address, count: descriptor.length) else {
            throw .address
        }
        try follow(inner, descriptor.length / 16, from: 0, mayNest: false)
    }

    private func append(_ descriptor: Descriptor) throws(VringError) {
        let isWritable = descriptor.flags & 2 != 0
        guard segmentCount < 1024, isWritable || segmentCount == readableCount else {
            throw .chain
        }
        guard let range = memory.range(guest: descriptor.address, count: descriptor.length) else {
            throw .address
        }
        // SAFETY: the count is below the capacity.
        unsafe segments[segmentCount] = iovec(iov_base: range.start, iov_len: range.count)
        segmentCount += 1
        if !isWritable { readableCount = segmentCount }
    }

    /// The bytes of the chain that the guest has filled in.
    public var readable: SegmentList {
        // SAFETY: the first elements of the array are initialized.
        unsafe SegmentList(segments.extracting(0..<readableCount))
    }

    /// The bytes of the chain that are for the device to fill in.
    public var writable: SegmentList {
        // SAFETY: these elements of the array are initialized.
        unsafe SegmentList(segments.extracting(readableCount..<segmentCount))
    }

    /// Puts the chain into the used ring with so many bytes written.
    public func complete(written: Int) {
        let place = Int(usedIndex & (size - 1))
        // SAFETY: the place is less than the size, and the elements begin at byte 4.
        unsafe toro_store32(used.start + 4 + 8 * place, UInt32(head))
        unsafe toro_store32(used.start + 8 + 8 * place, UInt32(clamping: written))
        usedIndex &+= 1
    }

    // MARK: Notifications

    /// Whether chains are completed that the guest was not shown.
    var hasNews: Bool { usedIndex != signalled }

    /// Shows the guest what was completed; whether it wants an interrupt for that.
    func publish() -> Bool {
        guard hasNews else { return false }
        // SAFETY: the index is at byte 2 of the used ring.
        unsafe toro_store16(used.start + 2, usedIndex)
        toro_fence()
        let old = signalled
        signalled = usedIndex
        shown = wishes
        guard hasEventIndex else { return shown.interrupt & 1 == 0 }
        let isWanted = usedIndex &- shown.interrupt &- 1 < usedIndex &- old
        if isWanted { answered = shown.interrupt }
        return isWanted
    }

    /// What a guest says that shows whether it stirs.
    private struct Wishes: Equatable {
        /// used_event, or else the flags of the available ring (2.7.7).
        var interrupt: UInt16 = 0
        /// The available index.
        var available: UInt16 = 0
    }

    private var wishes: Wishes {
        // SAFETY: used_event is behind the entries of the available ring, whose flags are its first
        // bytes and whose index is at byte 2.
        let place = hasEventIndex ? 4 + 2 * Int(size) : 0
        return unsafe Wishes(
            interrupt: toro_load16(available.start + place),
            available: toro_load16(available.start + 2))
    }

    /// Whether the guest has done anything with this ring since it was reminded of it.
    var hasStirred: Bool { reminded.map { $0 != wishes } ?? false }

    /// Whether the guest seems to wait for an interrupt for what it was shown already: it asks for
    /// one, and has taken and offered nothing since. Asked a while after `publish`.
    var isOverlooked: Bool {
        let wishes = wishes
        guard wishes.available == shown.available else { return false }
        // Without event indices nobody can tell whether the guest has taken what it was shown.
        guard hasEventIndex else { return wishes.interrupt & 1 == 0 }
        let isPassed = usedIndex &- wishes.interrupt &- 1 < size
        // An index that was there and passed before is no wish: the guest is at work.
        return isPassed && (wishes.interrupt != shown.interrupt || wishes.interrupt == answered)
    }

    /// The guest was notified again; or if not, whether it stirs is of no interest any more.
    func remind(_ isReminded: Bool) {
        let wishes = wishes
        reminded = isReminded ? wishes : nil
        if isReminded { answered = wishes.interrupt }
    }

    /// Asks the guest for a kick with the next chain; true if there is one already.
    public func arm() -> Bool {
        if hasEventIndex {
            // SAFETY: avail_event is behind the elements of the used ring.
            unsafe toro_store16(used.start + 4 + 8 * Int(size), nextAvailable)
        } else {
            // Written even if this side suppressed nothing: the ring may be one that stopped while
            // its kicks were suppressed, and goes on.
            // SAFETY: the flags are the first bytes of the used ring.
            unsafe toro_store16(used.start, 0)
            suppressed = false
        }
        toro_fence()
        // SAFETY: the available ring holds its index at byte 2.
        return unsafe toro_load16(available.start + 2) != nextAvailable
    }

    /// Tells the guest that kicks are not needed, until `arm`. With event indices there is nothing
    /// to write: the guest kicks once for each `arm`.
    private func disarm() {
        guard !hasEventIndex, !suppressed else { return }
        // SAFETY: the flags are the first bytes of the used ring.
        unsafe toro_store16(used.start, 1)
        suppressed = true
    }
}
