import Glibc

/// A run of bytes in pieces of guest memory. A value: what one copy drops, another still has. Valid
/// until the ring takes its next chain.
@safe public struct SegmentList {
    @unsafe private let segments: UnsafeMutableBufferPointer<iovec>
    /// The first piece that is left, and how much of it is gone.
    private var first = 0
    private var skipped = 0
    /// The bytes that are left.
    public private(set) var count: Int

    @unsafe init(_ segments: UnsafeMutableBufferPointer<iovec>) {
        unsafe self.segments = segments
        // The pieces of a chain may overlap: the sum is bounded by 1024 times 4 GiB.
        count = unsafe segments.reduce(0) { unsafe $0 + $1.iov_len }
    }

    /// Copies the first bytes out and drops them; false if there are fewer.
    public mutating func read(_ bytes: inout [UInt8]) -> Bool {
        // SAFETY: the array is as long as the copy.
        unsafe bytes.withUnsafeMutableBytes { target in
            guard let base = target.baseAddress else { return true }
            return unsafe move(target.count) { unsafe memcpy(base + $0, $1, $2) }
        }
    }

    /// Copies bytes to the front and drops that room; false if there is less.
    public mutating func write(_ bytes: [UInt8]) -> Bool {
        // SAFETY: the array is as long as the copy.
        unsafe bytes.withUnsafeBytes { source in
            guard let base = source.baseAddress else { return true }
            return unsafe move(source.count) { unsafe memcpy($1, base + $0, $2) }
        }
    }

    private mutating func move(
        _ length: Int, _ copy: (Int, UnsafeMutableRawPointer, Int) -> Void
    ) -> Bool {
        guard length <= count else { return false }
        var done = 0
        while done < length {
            let piece = unsafe segments[first]
            let step = unsafe min(piece.iov_len - skipped, length - done)
            // SAFETY: the step stays within the piece.
            if step > 0, let base = unsafe piece.iov_base {
                unsafe copy(done, base + skipped, step)
            }
            done += step
            removeFirst(step)
        }
        return true
    }

    /// Keeps the first `limit` bytes.
    public mutating func truncate(to limit: Int) { count = min(count, max(limit, 0)) }

    /// Drops the first bytes, all of them if there are fewer.
    public mutating func removeFirst(_ length: Int) {
        var left = min(length, count)
        count -= left
        while unsafe first < segments.count {
            let piece = unsafe segments[first].iov_len - skipped
            if left < piece {
                skipped += left
                return
            }
            left -= piece
            first += 1
            skipped = 0
        }
    }

    /// Receives from a socket; recvmsg's result.
    public func receive(from socket: Int32) -> Int {
        // SAFETY: the message describes pieces of guest memory, which stays mapped.
        unsafe withMessage { unsafe recvmsg(socket, &$0, Int32(MSG_DONTWAIT)) }
    }

    /// Sends to a socket; sendmsg's result.
    public func send(to socket: Int32) -> Int {
        // SAFETY: as above.
        unsafe withMessage {
            unsafe sendmsg(socket, &$0, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
    }

    /// Calls `body` with the pieces that are left, the first and the last cut to what is.
    private func withMessage(_ body: (inout msghdr) -> Int) -> Int {
        var message = unsafe msghdr()
        guard unsafe first < segments.count, count > 0, let start = unsafe segments.baseAddress
        else {
            return unsafe body(&message)
        }
        var last = first
        var left = unsafe count - (segments[first].iov_len - skipped)
        while left > 0 {
            last += 1
            left -= unsafe segments[last].iov_len
        }
        let whole = unsafe (segments[first], segments[last])
        // SAFETY: what is cut stays within the piece, and is put back below.
        unsafe segments[last].iov_len += left
        if let base = unsafe segments[first].iov_base {
            unsafe segments[first].iov_base = base + skipped
        }
        unsafe segments[first].iov_len -= skipped
        defer {
            unsafe segments[last] = whole.1
            unsafe segments[first] = whole.0
        }
        unsafe message.msg_iov = start + first
        unsafe message.msg_iovlen = last - first + 1
        // SAFETY: the pieces lie in guest memory, which stays mapped.
        return unsafe body(&message)
    }
}
