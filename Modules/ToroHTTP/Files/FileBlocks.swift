import ToroCore

/// The memory that the bodies of files may take.
///
/// The budget belongs to all connections of a server. When it is nearly used up blocks become
/// small and nothing is read ahead, so that hundreds of clients fit into a small guest.
@Core final class BlockBudget {
    private static var smallest: Int { 4_096 }
    private static var largest: Int { 65_536 }

    /// The bytes that are not in use; below zero by at most the smallest block per connection.
    private(set) var free: Int

    init(bytes: Int) { free = bytes }

    /// A buffer for a block of a file of which `wanted` bytes are left; nil if there is no
    /// memory. Its memory must be given back with `release`.
    func take(_ wanted: UInt64) -> IOBuffer? {
        var size = min(BlockBudget.largest, Int(min(wanted, UInt64(BlockBudget.largest))))
        // A quarter of what is free at most: the later ones get less, but they get some.
        size = min(size, max(BlockBudget.smallest, free / 4))
        while true {
            if let buffer = try? IOBuffer(capacity: size) {
                free -= buffer.capacity
                return buffer
            }
            guard size > BlockBudget.smallest else { return nil }
            size /= 4
        }
    }

    /// Whether a further block may be taken only to go faster.
    var allowsReadAhead: Bool { free >= 4 * BlockBudget.largest }

    /// Counts a buffer of this capacity as free.
    func release(_ capacity: Int) { free += capacity }
}

/// A part of a file on its way to a client, block by block: while one block is sent, the next one
/// is read.
@Core final class FileBlocks {
    private let file: any OpenFile
    private let budget: BlockBudget
    private var offset: UInt64
    private let end: UInt64
    private var capacityInUse = 0
    private var ahead: IOBuffer?
    private var failure: HTTPError?

    init(_ file: any OpenFile, _ range: Range<UInt64>, _ budget: BlockBudget) {
        self.file = file
        self.budget = budget
        offset = range.lowerBound
        end = range.upperBound
    }

    deinit {
        let budget = budget
        let capacity = capacityInUse
        Core.assumeIsolated { budget.release(capacity) }
    }

    /// Writes all of it. Throws `.incompleteBody` if the file cannot be read, or has shrunk.
    func send(to writer: HTTPBodyWriter) async throws(HTTPError) {
        defer { file.close() }
        if offset == end { return }
        guard var block = newBlock() else { throw .outOfMemory }
        var spare: IOBuffer? = nil
        if end - offset > UInt64(block.capacity), budget.allowsReadAhead { spare = newBlock() }
        while true {
            if block.isEmpty { block = try await fill(block) }
            guard offset < end, let next = spare.take() else {
                block = try await writer.write(block)
                if offset == end { return }
                continue
            }
            ahead = consume next
            async let reading: Void = readAhead()
            let sent = await write(block, to: writer)
            await reading
            guard let sent, let read = ahead.take(), failure == nil else {
                throw failure ?? .incompleteBody
            }
            spare = consume sent
            block = consume read
        }
    }

    private func write(
        _ block: consuming IOBuffer, to writer: HTTPBodyWriter
    ) async -> IOBuffer? {
        do throws(HTTPError) {
            return try await writer.write(block)
        } catch {
            failure = error
            return nil
        }
    }

    private func readAhead() async {
        guard let block = ahead.take() else { return }
        do throws(HTTPError) {
            ahead = try await fill(block)
        } catch {
            if failure == nil { failure = error }
        }
    }

    private func newBlock() -> IOBuffer? {
        guard let buffer = budget.take(end - offset) else { return nil }
        capacityInUse += buffer.capacity
        return buffer
    }

    /// Reads the next bytes into `block`, which is empty; at least one.
    private func fill(_ block: consuming IOBuffer) async throws(HTTPError) -> IOBuffer {
        let done = await file.read(into: block, at: offset)
        guard case .success(let count) = done.result, count > 0 else { throw .incompleteBody }
        var filled = done.take()
        // The file may have grown, or the block may be larger than what is left.
        if UInt64(filled.count) > end - offset { filled.truncate(to: Int(end - offset)) }
        offset += UInt64(filled.count)
        return filled
    }
}
