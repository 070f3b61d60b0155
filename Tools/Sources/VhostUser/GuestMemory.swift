import CHostShims
import Glibc

/// A piece of memory that a guest and this process share.
@safe public struct GuestRange {
    /// Its first byte in this process.
    @unsafe public let start: UnsafeMutableRawPointer
    /// Its bytes.
    public let count: Int
}

/// The guest's memory as the front end described it (vhost-user, "memory region description").
///
/// The guest changes these bytes at any time: copy what is checked, then check the copy.
@safe public final class GuestMemory {
    /// A region as SET_MEM_TABLE carries it.
    public struct Region: Equatable, Sendable {
        /// Where the guest sees it.
        public var guestAddress: UInt64
        /// Its bytes.
        public var size: UInt64
        /// Where the front end sees it.
        public var userAddress: UInt64
        /// Where it begins in the file.
        public var fileOffset: UInt64

        /// A region.
        public init(
            guestAddress: UInt64, size: UInt64, userAddress: UInt64, fileOffset: UInt64
        ) {
            self.guestAddress = guestAddress
            self.size = size
            self.userAddress = userAddress
            self.fileOffset = fileOffset
        }
    }

    @safe private struct Mapping {
        var region: Region
        @unsafe var base: UnsafeMutableRawPointer
        var length: Int
    }

    /// The most regions there are, and the most descriptors a message has: one for each.
    static let regionLimit = 8

    private var mappings: [Mapping] = []

    /// Maps the regions; `files` has one descriptor for each and stays the caller's.
    public init(_ regions: [Region], files: [Int32]) throws(HostError) {
        guard regions.count == files.count, regions.count <= GuestMemory.regionLimit else {
            throw HostError("the front end sent \(files.count) files for \(regions.count) regions")
        }
        for (region, file) in zip(regions, files) {
            mappings.append(try GuestMemory.map(region, file))
        }
    }

    deinit {
        for mapping in mappings {
            // SAFETY: this was mapped so, and nothing outlives the object that uses it.
            unsafe toro_unmap(mapping.base, mapping.length)
        }
    }

    private static func map(_ region: Region, _ file: Int32) throws(HostError) -> Mapping {
        let (end, overflow) = region.size.addingReportingOverflow(region.fileOffset)
        guard region.size > 0, !overflow, end <= 1 << 46,
            !region.guestAddress.addingReportingOverflow(region.size).overflow,
            !region.userAddress.addingReportingOverflow(region.size).overflow
        else { throw HostError("the front end described a memory region that cannot be") }
        guard toro_cannot_shrink(file, end) == 1 else {
            throw HostError("guest memory must be a memfd sealed against shrinking, and whole")
        }
        let length = Int(end)
        // SAFETY: a new mapping touches nothing there is.
        guard let base = unsafe toro_map(file, length, Int(region.fileOffset)) else {
            throw .system("cannot map \(length) bytes of guest memory")
        }
        return unsafe Mapping(region: region, base: base, length: length)
    }

    /// The bytes at a guest-physical address; nil unless they lie in one region.
    @inline(__always)
    public func range(guest address: UInt64, count: Int) -> GuestRange? {
        for mapping in mappings {
            if let range = GuestMemory.range(mapping, mapping.region.guestAddress, address, count) {
                return range
            }
        }
        return nil
    }

    /// The bytes at an address of the front end; nil unless they lie in one region.
    public func range(user address: UInt64, count: Int) -> GuestRange? {
        for mapping in mappings {
            if let range = GuestMemory.range(mapping, mapping.region.userAddress, address, count) {
                return range
            }
        }
        return nil
    }

    @inline(__always)
    private static func range(
        _ mapping: Mapping, _ first: UInt64, _ address: UInt64, _ count: Int
    ) -> GuestRange? {
        guard address >= first, count >= 0 else { return nil }
        let offset = address - first
        guard offset <= mapping.region.size, UInt64(count) <= mapping.region.size - offset else {
            return nil
        }
        // SAFETY: offset + count lies within the region, whose pages cannot go away.
        return unsafe GuestRange(
            start: mapping.base + Int(mapping.region.fileOffset + offset), count: count)
    }
}
