import ToroCore

/// A window of device registers, little-endian, each access exactly as wide as its name says.
///
/// Platforms conform a type whose loads and stores reach the device; ToroTesting one that records
/// the trace.
public protocol RegisterWindow {
    /// Reads the 32-bit register at `offset`, a multiple of 4.
    func load32(at offset: Int) -> UInt32
    /// Writes the 32-bit register at `offset`, a multiple of 4.
    func store32(_ value: UInt32, at offset: Int)
    /// Reads the byte at `offset`; for the device-specific configuration space.
    func load8(at offset: Int) -> UInt8
}

/// What kind of device it is (VIRTIO 1.2, section 5).
public struct VirtioDeviceID: RawRepresentable, Hashable, Sendable {
    /// The number the specification gives.
    public let rawValue: UInt32
    /// The kind with this number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A network card (5.1).
    public static let network = VirtioDeviceID(rawValue: 1)
    /// A block device (5.2).
    public static let block = VirtioDeviceID(rawValue: 2)
    /// A socket device (5.10).
    public static let socket = VirtioDeviceID(rawValue: 19)
    /// A file system device (5.11).
    public static let fileSystem = VirtioDeviceID(rawValue: 26)
}

/// The device status bits (VIRTIO 1.2, section 2.1).
public struct VirtioStatus: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// The status with these bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// ACKNOWLEDGE: the guest has noticed the device.
    public static let acknowledge = VirtioStatus(rawValue: 1)
    /// DRIVER: the guest knows how to drive it.
    public static let driver = VirtioStatus(rawValue: 2)
    /// DRIVER_OK: the driver is ready.
    public static let driverOK = VirtioStatus(rawValue: 4)
    /// FEATURES_OK: the features are agreed on.
    public static let featuresOK = VirtioStatus(rawValue: 8)
    /// DEVICE_NEEDS_RESET: the device has failed.
    public static let deviceNeedsReset = VirtioStatus(rawValue: 64)
    /// FAILED: the driver has given up.
    public static let failed = VirtioStatus(rawValue: 128)
}

/// Where the three parts of a split virtqueue are, as the device sees them (VIRTIO 1.2, 2.7).
public struct VirtqueueAddresses: Equatable, Sendable {
    /// The descriptor table.
    public var descriptorTable: UInt64
    /// The available ring ("driver area").
    public var availableRing: UInt64
    /// The used ring ("device area").
    public var usedRing: UInt64

    /// The given addresses.
    public init(descriptorTable: UInt64, availableRing: UInt64, usedRing: UInt64) {
        self.descriptorTable = descriptorTable
        self.availableRing = availableRing
        self.usedRing = usedRing
    }
}

/// How a driver reaches its device: MMIO or PCI (VIRTIO 1.2, section 4). Control path, and one
/// call of the data path: `notify`. A class, so that drivers are compiled once, with their unit, and
/// not for each kind of transport in every service. (An extension of this protocol would be no help: in
/// Embedded Swift, a call of one through `any VirtioTransport` traps.)
@Core public protocol VirtioTransport: AnyObject {
    /// The kind of device.
    var deviceID: VirtioDeviceID { get }

    /// Reads the device status.
    func readStatus() -> VirtioStatus
    /// Writes the device status, which is not empty.
    func writeStatus(_ status: VirtioStatus)
    /// Resets the device and waits, within bounds, until it confirms that. False if it does not: it
    /// may write to all memory that it was given, whenever it likes. See ``LostMemory``.
    func reset() -> Bool

    /// The feature bits the device offers.
    func deviceFeatures() -> UInt64
    /// Tells the device which of them the driver takes.
    func setDriverFeatures(_ features: UInt64)

    /// The largest size the device allows for the queue, 0 if it has no such queue.
    func maximumSize(ofQueue index: UInt16) -> UInt16
    /// Sets the queue's size and addresses and enables it.
    func enableQueue(_ index: UInt16, size: UInt16, at addresses: VirtqueueAddresses)
    /// Tells the device that the queue has new available buffers.
    func notify(queue index: UInt16)

    /// A field of one byte of the device-specific configuration. See ``VirtioConfiguration``.
    func configurationByte(at offset: Int) -> UInt8
    /// A field of four bytes, or half of one of eight, in the machine's order.
    func configurationWord(at offset: Int) -> UInt32
    /// A number that changes whenever the configuration does (2.5).
    var configurationGeneration: UInt32 { get }
}

/// Where a driver finds its device.
///
/// A platform's machine conforms; a unit adds its own word to every bus in an extension
/// (`vm.virtioFS(tag:)`, `vm.vsock()`), so that neither knows the other.
@Core public protocol VirtioBus {
    /// The number of places for devices, used or not.
    var slotCount: Int { get }

    /// The device in a slot; nil if the slot is empty or its device is claimed. Throws for one that
    /// no driver can drive, such as a legacy device.
    func device(inSlot slot: Int) throws(VirtioError) -> (any VirtioTransport)?

    /// Hands the device in `slot` to `driver`: the run loop polls it from now on and the device's
    /// interrupt wakes the loop. Traps if the slot is empty or claimed.
    func claim(slot: Int, for driver: any Pollable)
}

extension VirtioBus {
    /// The first device that `matches`; nil if there is none. Throws if none of those that can be
    /// driven does and there is another: it may be the one that is looked for.
    public func firstDevice(
        where matches: (any VirtioTransport) throws(VirtioError) -> Bool
    ) throws(VirtioError) -> (slot: Int, transport: any VirtioTransport)? {
        var failure: VirtioError?
        for slot in 0..<slotCount {
            do throws(VirtioError) {
                guard let transport = try device(inSlot: slot), try matches(transport) else {
                    continue
                }
                return (slot, transport)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }
}
