import Foundation

/// Builds guests from packages.
public struct ImageBuild: Sendable {
    private let root: String
    let configuration: BuildConfiguration

    /// A builder for the Toro in folder `root`; the SDK bundle is kept below `root/.build`.
    public init(root: String, configuration: BuildConfiguration) {
        self.root = root
        self.configuration = configuration
    }

    /// Where the builds of the package in `folder` are.
    static func scratch(of folder: String) -> String { folder + "/.build/toro-microvm" }

    /// Builds the image of the package in `folder`: `product`, or what its manifest names, or what
    /// is named like the folder. `onOutput` is called with what SwiftPM writes meanwhile.
    ///
    /// Of a debug image only what an edit of the package's own sources has changed is built again,
    /// without SwiftPM; all else is built by it.
    public func build(
        package folder: String, product: String? = nil, onOutput: ([UInt8]) -> Void = { _ in }
    ) throws(LaunchError) -> Image {
        guard RawText.isText(folder) else {
            throw .usage(
                "SwiftPM builds in no folder whose path is not UTF-8, as \(folder) is: "
                    + "rename it, or build a copy")
        }
        guard try HostFile.isThere(folder + "/Package.swift") else {
            throw .usage("\(folder) is no package: it has no Package.swift")
        }
        let manifest = try Manifest(package: folder)
        let product =
            product ?? manifest.product ?? URL(fileURLWithPath: folder).lastPathComponent
        let scratch = ImageBuild.scratch(of: folder)
        let lock = try BuildLock(scratch)
        defer { lock.release() }
        let symbols =
            switch configuration {
            case .debug: try edit(product, of: folder, scratch, onOutput)
            case .release: try build(product, of: folder, scratch, onOutput).symbols
            }
        return try image(of: symbols, manifest)
    }

    /// Builds what has changed of a product for debug; returns the program with its symbols.
    private func edit(
        _ product: String, of folder: String, _ scratch: String, _ onOutput: ([UInt8]) -> Void
    ) throws(LaunchError) -> String {
        let symbols = "\(scratch)/edit/\(product)"
        let path = symbols + ".record"
        if var record = EditRecord(current: path) {
            defer { record.write(to: path) }
            try record.build(symbols)
            return symbols
        }
        try? FileManager.default.removeItem(atPath: path)
        let began = FileStamp.now
        let built = try build(product, of: folder, scratch, onOutput)
        let place = EditRecord.Place(
            package: folder, scratch: scratch, product: product, output: symbols, sdk: built.sdk,
            root: root)
        // What cannot be repeated without SwiftPM is as SwiftPM has built it.
        guard var record = try EditRecord(place) else { return built.symbols }
        defer { if record.isWhole(since: began) { record.write(to: path) } }
        try record.build(symbols)
        return symbols
    }

    /// Has SwiftPM build a product; returns the program with its symbols.
    private func build(
        _ product: String, of folder: String, _ scratch: String, _ onOutput: ([UInt8]) -> Void
    ) throws(LaunchError) -> (symbols: String, sdk: GuestSDK) {
        let sdk = try GuestSDK(root: root, below: ".build/toro", configuration: configuration)
        let built = try SwiftCommand(temporary: scratch + "/tmp").capture(
            [
                "build", "--package-path", folder, "--scratch-path", scratch,
                "--swift-sdks-path", sdk.folder, "--swift-sdk", sdk.name,
                "--disable-build-manifest-caching", "-c", configuration.rawValue,
                "--disable-index-store", "--product", product,
                "-Xswiftc", "-file-prefix-map", "-Xswiftc", folder + "=.",
            ], onOutput: onOutput)
        guard built.status == 0 else {
            throw LaunchError("the build of \(product) failed:\n" + built.output)
        }
        return ("\(scratch)/\(configuration)/\(product)", sdk)
    }

    /// Makes the image of a program: without its symbols, and with its manifest.
    private func image(of symbols: String, _ manifest: Manifest) throws(LaunchError) -> Image {
        let strip = try Command.objcopy()
        let (path, note) = (symbols + ".image", symbols + ".note")
        guard
            FileManager.default.createFile(
                atPath: note, contents: ImageNote.encode(manifest.embedded))
        else { throw LaunchError("cannot write \(note)") }
        // A guest may just be starting from the old one.
        let copy = path + ".new"
        let ended = try Command.capture(
            strip, ["--strip-all", "--add-section=\(ImageNote.section)=\(note)", symbols, copy])
        guard ended.status == 0 else {
            throw LaunchError("making \(path) of \(symbols) failed: " + ended.output)
        }
        // SAFETY: both paths are C strings for the call.
        guard unsafe rename(copy, path) == 0 else {
            throw LaunchError("cannot write \(path): \(reason(errno))")
        }
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return Image(
            path: path, symbols: symbols, size: attributes?[.size] as? Int ?? 0,
            manifest: manifest, configuration: configuration)
    }
}

/// Builds of one package, one at a time: another one waits.
private struct BuildLock {
    private let file: Int32

    init(_ scratch: String) throws(LaunchError) {
        do {
            try FileManager.default.createDirectory(
                atPath: scratch + "/edit", withIntermediateDirectories: true)
        } catch {
            throw LaunchError("cannot write to \(scratch): \(reason(error))")
        }
        // SAFETY: the path is a C string for the call.
        file = unsafe open(scratch + "/edit/lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
        guard file >= 0 else {
            throw LaunchError("cannot write to \(scratch): \(reason(errno))")
        }
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            try Interrupts.check()
            usleep(50_000)
        }
    }

    func release() { close(file) }
}
