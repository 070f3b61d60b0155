import ToroCore

/// Virtio over MMIO, version 2 of the register layout (VIRTIO 1.2, section 4.2.2).
@Core public final class MMIOTransport<Registers: RegisterWindow>: VirtioTransport {
    private enum Register {
        static var magicValue: Int { 0x000 }
        static var version: Int { 0x004 }
        static var deviceID: Int { 0x008 }
        static var deviceFeatures: Int { 0x010 }
        static var deviceFeaturesSelect: Int { 0x014 }
        static var driverFeatures: Int { 0x020 }
        static var driverFeaturesSelect: Int { 0x024 }
        static var queueSelect: Int { 0x030 }
        static var queueSizeMaximum: Int { 0x034 }
        static var queueSize: Int { 0x038 }
        static var queueReady: Int { 0x044 }
        static var queueNotify: Int { 0x050 }
        static var status: Int { 0x070 }
        static var queueDescriptor: Int { 0x080 }
        static var queueDriver: Int { 0x090 }
        static var queueDevice: Int { 0x0a0 }
        static var configurationGeneration: Int { 0x0fc }
        static var configuration: Int { 0x100 }
    }

    /// How often the status is read before a reset counts as failed.
    private static var resetAttempts: Int { 100_000 }

    private let registers: Registers

    /// The kind of device.
    public let deviceID: VirtioDeviceID

    /// The device behind a register window; `deviceID` is 0 in an empty slot, whatever its version.
    /// Throws for a window that is none, and for a device of another version.
    public init(_ registers: Registers) throws(VirtioError) {
        let magic = registers.load32(at: Register.magicValue)
        guard magic == 0x7472_6976 else { throw .badMagic(magic) }
        deviceID = VirtioDeviceID(rawValue: registers.load32(at: Register.deviceID))
        let version = registers.load32(at: Register.version)
        guard version == 2 || deviceID.rawValue == 0 else { throw .unsupportedVersion(version) }
        self.registers = registers
    }

    /// The device status register (2.1).
    public func readStatus() -> VirtioStatus {
        VirtioStatus(rawValue: UInt8(truncatingIfNeeded: registers.load32(at: Register.status)))
    }

    /// Sets the device status.
    public func writeStatus(_ status: VirtioStatus) {
        registers.store32(UInt32(status.rawValue), at: Register.status)
    }

    /// Resets the device (4.2.2); it confirms that by a status of 0.
    public func reset() -> Bool {
        registers.store32(0, at: Register.status)
        for _ in 0..<Self.resetAttempts where registers.load32(at: Register.status) == 0 {
            return true
        }
        return false
    }

    /// All feature bits that the device offers.
    public func deviceFeatures() -> UInt64 {
        registers.store32(1, at: Register.deviceFeaturesSelect)
        let high = registers.load32(at: Register.deviceFeatures)
        registers.store32(0, at: Register.deviceFeaturesSelect)
        return UInt64(high) << 32 | UInt64(registers.load32(at: Register.deviceFeatures))
    }

    /// Tells the device which features the driver takes.
    public func setDriverFeatures(_ features: UInt64) {
        registers.store32(1, at: Register.driverFeaturesSelect)
        registers.store32(UInt32(truncatingIfNeeded: features >> 32), at: Register.driverFeatures)
        registers.store32(0, at: Register.driverFeaturesSelect)
        registers.store32(UInt32(truncatingIfNeeded: features), at: Register.driverFeatures)
    }

    /// QueueNumMax of a queue; 0 if there is none.
    public func maximumSize(ofQueue index: UInt16) -> UInt16 {
        registers.store32(UInt32(index), at: Register.queueSelect)
        return UInt16(clamping: registers.load32(at: Register.queueSizeMaximum))
    }

    /// Hands a queue to the device (4.2.3.2).
    public func enableQueue(_ index: UInt16, size: UInt16, at addresses: VirtqueueAddresses) {
        registers.store32(UInt32(index), at: Register.queueSelect)
        registers.store32(UInt32(size), at: Register.queueSize)
        store64(addresses.descriptorTable, at: Register.queueDescriptor)
        store64(addresses.availableRing, at: Register.queueDriver)
        store64(addresses.usedRing, at: Register.queueDevice)
        registers.store32(1, at: Register.queueReady)
    }

    /// Tells the device that a queue has new buffers.
    public func notify(queue index: UInt16) {
        registers.store32(UInt32(index), at: Register.queueNotify)
    }

    /// A field of one byte of the device-specific configuration.
    public func configurationByte(at offset: Int) -> UInt8 {
        registers.load8(at: Register.configuration + offset)
    }

    /// A field of four bytes, or half of one of eight.
    public func configurationWord(at offset: Int) -> UInt32 {
        registers.load32(at: Register.configuration + offset)
    }

    /// ConfigGeneration (4.2.2).
    public var configurationGeneration: UInt32 {
        registers.load32(at: Register.configurationGeneration)
    }

    private func store64(_ value: UInt64, at offset: Int) {
        registers.store32(UInt32(truncatingIfNeeded: value), at: offset)
        registers.store32(UInt32(truncatingIfNeeded: value >> 32), at: offset + 4)
    }
}
