import CHostShims
import Glibc

/// The memory of a guest that exists only in a test: a sealed memory file, as QEMU would share it.
/// It lies in the middle of the file, between bytes that are none of the device's business.
@safe final class GuestRam {
    static let size = 1 << 20
    /// The bytes before and behind the guest's.
    static let margin = 1 << 16

    private let size: Int
    private let margin: Int
    private var whole: Int { size + 2 * margin }
    let file: Int32
    @unsafe private let start: UnsafeMutableRawPointer

    init(size: Int = size, margin: Int = margin) throws {
        self.size = size
        self.margin = margin
        let whole = size + 2 * margin
        file = toro_make_memory(UInt64(whole))
        let protection = PROT_READ | PROT_WRITE
        // SAFETY: a new mapping touches nothing there is.
        let base = unsafe mmap(nil, whole, protection, MAP_SHARED, file, 0)
        guard file >= 0, let base = unsafe base, unsafe base != MAP_FAILED else {
            throw TestFailure("no shared memory")
        }
        unsafe start = base
    }

    deinit {
        // SAFETY: this is what mmap returned.
        unsafe munmap(start, whole)
        close(file)
    }

    func store<T: FixedWidthInteger>(_ value: T, at address: Int) {
        precondition(address >= 0 && address <= size - T.bitWidth / 8)
        unsafe start.storeBytes(
            of: value.littleEndian, toByteOffset: margin + address, as: T.self)
    }

    func load<T: FixedWidthInteger>(_ address: Int, as type: T.Type = T.self) -> T {
        precondition(address >= 0 && address <= size - T.bitWidth / 8)
        return unsafe T(
            littleEndian: start.loadUnaligned(fromByteOffset: margin + address, as: T.self)
        )
    }

    /// Whether nobody has written outside the guest's memory.
    var marginsAreClean: Bool {
        let behind = margin + size
        // SAFETY: both ranges lie in the mapping.
        return (0..<margin).allSatisfy {
            unsafe start.load(fromByteOffset: $0, as: UInt8.self) == 0
                && start.load(fromByteOffset: behind + $0, as: UInt8.self) == 0
        }
    }

    func write(_ bytes: [UInt8], at address: Int) {
        precondition(address >= 0 && address <= size - bytes.count)
        // SAFETY: the bytes lie in the mapping.
        unsafe UnsafeMutableRawBufferPointer(start: start + margin + address, count: bytes.count)
            .copyBytes(from: bytes)
    }

    func read(_ count: Int, at address: Int) -> [UInt8] {
        precondition(address >= 0 && address <= size - count)
        // SAFETY: as above.
        return unsafe Array(
            UnsafeRawBufferPointer(start: start + margin + address, count: count))
    }
}

/// A test cannot go on.
struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
