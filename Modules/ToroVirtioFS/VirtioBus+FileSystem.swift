public import ToroCore
public import ToroVirtio

extension VirtioBus {
    /// The share that the launcher was given as `--share TAG=FOLDER`.
    public func virtioFS(
        tag: StaticString, clock: any Timekeeper = Core.clock
    ) async throws(WiringError) -> VirtioFileSystem {
        let channel: FUSEChannel?
        do throws(VirtioError) {
            channel = try fileSystemChannel(tag)
        } catch {
            throw .unusableDevice(error.explanation)
        }
        if let channel {
            do throws(FileError) {
                return try await VirtioFileSystem.start(channel, clock)
            } catch {
                throw .unusableDevice(error.explanation)
            }
        }
        throw .missingDevice(
            "no share has the tag that the service asks for (run with --share TAG=FOLDER)",
            name: tag)
    }

    /// Sets up the device whose configuration has this tag (36 bytes; 5.11.4); nil if there is none.
    private func fileSystemChannel(_ tag: StaticString) throws(VirtioError) -> FUSEChannel? {
        let found = try firstDevice { (device) throws(VirtioError) in
            guard device.deviceID == .fileSystem else { return false }
            return try VirtioConfiguration(device).hasText(tag, at: 0, size: 36)
        }
        guard let (slot, transport) = found else { return nil }
        let channel = try FUSEChannel(transport)
        claim(slot: slot, for: channel)
        return channel
    }
}
