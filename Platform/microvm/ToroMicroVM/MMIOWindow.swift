import CMicroVM
import ToroVirtio

/// The registers of a device, by their physical address, which is also the virtual one.
public struct MMIOWindow: RegisterWindow, Sendable {
    let address: UInt64

    #if hasFeature(Embedded)
    /// Reads the 32-bit register at `offset`.
    public func load32(at offset: Int) -> UInt32 { toro_load32(address + UInt64(offset)) }
    /// Writes the 32-bit register at `offset`.
    public func store32(_ value: UInt32, at offset: Int) {
        toro_store32(address + UInt64(offset), value)
    }
    /// Reads the byte at `offset`.
    public func load8(at offset: Int) -> UInt8 { toro_load8(address + UInt64(offset)) }
    #else
    /// There is no device on a host.
    public func load32(at offset: Int) -> UInt32 { 0 }
    /// There is no device on a host.
    public func store32(_ value: UInt32, at offset: Int) {}
    /// There is no device on a host.
    public func load8(at offset: Int) -> UInt8 { 0 }
    #endif
}
