public import ToroCore
public import ToroVirtio

extension VirtioBus {
    /// The share that the launcher was given as `--share TAG=FOLDER`.
    public func virtioFS(
        tag: StaticString, clock: any Timekeeper = Core.clock
    ) async throws(WiringError) -> VirtioFileSystem {
        for slot in 0..<slotCount {
            guard let transport = device(inSlot: slot), transport.deviceID == .fileSystem,
                FUSEChannel.tag(of: transport, equals: tag)
            else { continue }
            let channel: FUSEChannel
            do throws(VirtioError) {
                channel = try FUSEChannel(transport)
            } catch {
                throw .unusableDevice(error.explanation)
            }
            claim(slot: slot, for: channel)
            let session = FUSESession(channel, clock: clock)
            do throws(FileError) {
                try await session.run(FUSEStart())
                return VirtioFileSystem(session)
            } catch {
                throw .unusableDevice(error.explanation)
            }
        }
        throw .missingDevice(
            "no share has the tag that the service asks for (run with --share TAG=FOLDER)",
            name: tag)
    }
}

extension FUSEChannel {
    /// Whether the tag in the configuration (36 bytes, padded with NUL; 5.11.4) is `tag`.
    static func tag(of device: any VirtioTransport, equals tag: StaticString) -> Bool {
        let count = tag.utf8CodeUnitCount
        guard count <= 36 else { return false }
        for index in 0..<count {
            // SAFETY: the index is below the string's length.
            guard unsafe tag.utf8Start[index] == device.configurationByte(at: index) else {
                return false
            }
        }
        return count == 36 || device.configurationByte(at: count) == 0
    }
}
