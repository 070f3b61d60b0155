import CToroCore

/// There is no memory of the size that was asked for.
public struct OutOfMemory: ToroError, Equatable {
    /// The bytes that were asked for.
    public let requested: Int

    /// A failure to allocate `requested` bytes.
    public init(requested: Int) { self.requested = requested }

    /// What was wrong and what to do.
    public var explanation: String {
        "out of memory: no room for " + String(requested) + " bytes; give the guest more memory"
    }
}

/// Bytes that a device can read and write, with exactly one owner.
///
/// The memory has a fixed `capacity`; the bytes that mean something are a window in it,
/// `count` bytes long. A unit that fills a buffer moves the window's end, a unit that uses bytes
/// up moves its start. Nothing is copied when a buffer changes hands, and the compiler sees to it
/// that a buffer in a device's hands is in nobody else's.
///
/// Do not use it for small values that never meet a device: an array is simpler.
@safe public struct IOBuffer: ~Copyable {
    /// What is known of the memory, in front of it: a buffer is one machine word, which moves at
    /// no cost from task to driver and back.
    @safe private struct Header {
        /// What was allocated, the header included; nil for no memory.
        var allocation: UnsafeMutableRawPointer?
        var capacity: Int
        var start = 0
        var end = 0
    }

    /// The bytes from the header to the memory: a cache line.
    private static var headerSize: Int { 64 }

    private let header: UnsafeMutablePointer<Header>

    /// The first byte of the memory. It is device-visible: in a guest, physical and virtual
    /// addresses of heap memory are equal.
    private var base: UnsafeMutableRawPointer {
        unsafe UnsafeMutableRawPointer(header) + IOBuffer.headerSize
    }

    /// The size of the memory in bytes.
    public var capacity: Int { unsafe header.pointee.capacity }

    /// The offset of the first meaningful byte.
    public private(set) var start: Int {
        get { unsafe header.pointee.start }
        set { unsafe header.pointee.start = newValue }
    }

    /// The offset behind the last meaningful byte.
    public private(set) var end: Int {
        get { unsafe header.pointee.end }
        set { unsafe header.pointee.end = newValue }
    }

    /// An empty buffer of `capacity` bytes on the heap, at an address divisible by `alignment`
    /// (a power of two from 8 to 4096). It takes 64 bytes more, or `alignment` if that is more.
    @inline(never)
    public init(capacity: Int, alignment: Int = 64) throws(OutOfMemory) {
        let gap = max(alignment, IOBuffer.headerSize)
        let (size, overflow) = capacity.addingReportingOverflow(gap)
        guard capacity >= 0, !overflow, let memory = unsafe toro_allocate(size, gap) else {
            throw OutOfMemory(requested: capacity)
        }
        // SAFETY: the header lies between the allocation's start and the memory.
        unsafe header = (memory + gap - IOBuffer.headerSize).bindMemory(
            to: Header.self, capacity: 1)
        unsafe header.initialize(to: Header(allocation: memory, capacity: capacity))
    }

    /// Whether there is memory now for buffers of `size` bytes in all, none larger than a page; on a
    /// host always. Whoever begins something that takes memory which cannot be refused asks first:
    /// the objects and tasks of Swift. O(1) unless memory is short.
    public static func hasMemory(for size: Int) -> Bool { toro_has_memory(max(size, 0)) }

    /// A buffer without memory, `capacity` 0: it stands where a buffer was that is a device's now.
    public init() {
        // SAFETY: 64 zeros are the header of a buffer without memory. All such buffers share it:
        // whatever is done to one writes nothing but zeros.
        unsafe header = toro_no_memory().assumingMemoryBound(to: Header.self)
    }

    deinit {
        // SAFETY: the buffer is the memory's only owner and its life ends here.
        unsafe toro_deallocate(header.pointee.allocation)
    }

    /// The number of meaningful bytes.
    public var count: Int { end - start }

    /// Whether there is no meaningful byte.
    public var isEmpty: Bool { start == end }

    /// The number of bytes that fit behind the window.
    public var freeCapacity: Int { capacity - end }

    /// The meaningful bytes.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            // SAFETY: start...end lies in the memory, which lives as long as `self` is borrowed.
            let span = unsafe RawSpan(_unsafeStart: base + start, byteCount: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Calls `body` with the meaningful bytes.
    ///
    /// For a buffer in a local constant whose life ends in the same function: Embedded Swift 6.3
    /// keeps a constant that a span borrows in a heap box, which it then cannot destroy.
    public borrowing func withBytes<Result: ~Copyable, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(bytes)
    }

    /// The meaningful bytes, to be changed in place.
    public var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // SAFETY: as for `bytes`; `self` is borrowed exclusively.
            let span = unsafe MutableRawSpan(_unsafeStart: base + start, byteCount: count)
            return unsafe _overrideLifetime(span, mutating: &self)
        }
    }

    /// The address of the first meaningful byte as a device sees it.
    public var deviceAddress: UInt64 { unsafe UInt64(UInt(bitPattern: base + start)) }

    /// The address of the free bytes behind the window as a device sees it.
    public var freeDeviceAddress: UInt64 { unsafe UInt64(UInt(bitPattern: base + end)) }

    /// The memory of the buffer from `start`, for code that hands it to a device or a system call.
    ///
    /// Valid while the buffer lives; `count` bytes may be read, `capacity - start` written.
    @unsafe public var unsafePointer: UnsafeMutableRawPointer { unsafe base + start }

    /// Makes the window empty, at the start of the memory.
    public mutating func removeAll() {
        start = 0
        end = 0
    }

    /// Drops the first `count` meaningful bytes, all of them if there are fewer.
    public mutating func removeFirst(_ count: Int) {
        start += min(max(count, 0), self.count)
    }

    /// Keeps the first `count` meaningful bytes, all of them if there are fewer.
    public mutating func truncate(to count: Int) {
        end = start + min(max(count, 0), self.count)
    }

    /// Takes `count` bytes that a device or a call has written behind the window into it; at most
    /// `freeCapacity`.
    public mutating func didFill(_ count: Int) {
        end += min(max(count, 0), freeCapacity)
    }

    /// Adds one byte; false, and nothing added, when the buffer is full.
    @discardableResult
    public mutating func append(_ byte: UInt8) -> Bool {
        guard end < capacity else { return false }
        // SAFETY: end < capacity, so the byte lies in the memory.
        unsafe base.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
        end += 1
        return true
    }

    /// Adds an integer, its lowest byte first; false, and nothing added, when it does not fit.
    @discardableResult
    package mutating func append<T: FixedWidthInteger & BitwiseCopyable>(
        littleEndian value: T
    ) -> Bool {
        guard freeCapacity >= MemoryLayout<T>.size else { return false }
        // SAFETY: so many bytes are free behind `end`.
        unsafe (base + end).storeBytes(of: value.littleEndian, as: T.self)
        end += MemoryLayout<T>.size
        return true
    }

    /// Adds a copy of `source`, as much as fits; returns the number of bytes added.
    @discardableResult
    public mutating func append(_ source: RawSpan) -> Int {
        let count = min(source.byteCount, freeCapacity)
        guard count > 0 else { return 0 }
        unsafe source.withUnsafeBytes { bytes in
            guard let from = bytes.baseAddress else { return }
            // SAFETY: count bytes are free behind `end`, and a caller cannot hold a span of this
            // buffer while it is changed, so the ranges do not overlap.
            unsafe (base + end).copyMemory(from: from, byteCount: count)
        }
        end += count
        return count
    }

    /// Adds the UTF-8 of `text`, as much as fits; returns the number of bytes added.
    @discardableResult
    public mutating func append(_ text: StaticString) -> Int {
        // SAFETY: a static string's UTF-8 is constant memory of `utf8CodeUnitCount` bytes.
        let span = unsafe RawSpan(
            _unsafeStart: text.utf8Start, byteCount: text.utf8CodeUnitCount)
        return append(span)
    }
}

/// How an operation that borrowed a buffer ended: the buffer, always, and the outcome.
///
/// An `Error` cannot carry a `~Copyable` value, so an operation on a buffer does not throw.
///
/// An operation that is cancelled, or whose stream is closed, ends at once. If a device has the
/// buffer then, the memory stays with the driver until the device gives it back, and what comes
/// back here is a buffer without memory.
public struct Completed<Failure: Error>: ~Copyable {
    /// The buffer that was handed in, or one of `capacity` 0 if a device still has that.
    public var buffer: IOBuffer

    /// The number of bytes moved, or what went wrong.
    public let result: Result<Int, Failure>

    /// An operation that ended with `result`.
    public init(_ buffer: consuming IOBuffer, _ result: Result<Int, Failure>) {
        self.buffer = buffer
        self.result = result
    }

    /// The buffer; throws, and ends the buffer's life, if the operation failed.
    public consuming func get() throws(Failure) -> IOBuffer {
        _ = try result.get()
        return buffer
    }

    /// The buffer, whatever the outcome.
    public consuming func take() -> IOBuffer { buffer }
}
