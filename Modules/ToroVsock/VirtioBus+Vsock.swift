public import ToroCore
public import ToroVirtio

extension VirtioBus {
    /// The machine's socket device. Each connection keeps up to `bufferAllocation` bytes that the
    /// service has not taken yet; `clock` bounds how long closed ones linger. To be called once.
    public func vsock(
        bufferAllocation: UInt32 = 64 << 10, clock: any Timekeeper = Core.clock
    ) throws(WiringError) -> VsockDriver {
        do throws(VirtioError) {
            if let (slot, transport) = try firstDevice(where: { $0.deviceID == .socket }) {
                let driver = try VsockDriver(
                    transport, bufferAllocation: bufferAllocation, clock: clock)
                claim(slot: slot, for: driver)
                return driver
            }
        } catch {
            throw .unusableDevice(error.explanation)
        }
        throw .missingDevice("no vsock device; run with --publish PORT:GUESTPORT")
    }
}
