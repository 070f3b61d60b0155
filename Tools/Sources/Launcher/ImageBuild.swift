import Foundation

/// Builds guests from packages.
public struct ImageBuild: Sendable {
    private let sdk: GuestSDK

    /// A builder for the Toro in folder `root`; the SDK bundle is kept below `root/.build`.
    public init(root: String, configuration: BuildConfiguration) throws(LaunchError) {
        sdk = try GuestSDK(root: root, below: ".build/toro", configuration: configuration)
    }

    /// Builds the image of the package in `folder`: `product`, or what its manifest names, or what
    /// is named like the folder. `onOutput` is called with what SwiftPM writes meanwhile.
    public func build(
        package folder: String, product: String? = nil, onOutput: ([UInt8]) -> Void = { _ in }
    ) throws(LaunchError) -> Image {
        guard FileManager.default.fileExists(atPath: folder + "/Package.swift") else {
            throw .usage("\(folder) is no package: it has no Package.swift")
        }
        let manifest = try Manifest(package: folder)
        let product =
            product ?? manifest.product ?? URL(fileURLWithPath: folder).lastPathComponent
        guard let swift = Command.find("swift") else {
            throw .missing("swift is not in PATH: install Swift 6.3 from swift.org/install")
        }
        let scratch = folder + "/.build/toro-microvm"
        let built = try Command.capture(
            swift,
            [
                "build", "--package-path", folder, "--scratch-path", scratch,
                "--swift-sdks-path", sdk.folder, "--swift-sdk", sdk.name,
                "--disable-build-manifest-caching", "-c", sdk.configuration.rawValue,
                "--disable-index-store", "--product", product,
                "-Xswiftc", "-file-prefix-map", "-Xswiftc", folder + "=.",
            ], onOutput: onOutput)
        guard built.status == 0 else {
            throw LaunchError("the build of \(product) failed:\n" + built.output)
        }
        let symbols = "\(scratch)/\(sdk.configuration.rawValue)/\(product)"
        let path = symbols + ".image"
        guard let strip = Command.findTool("llvm-objcopy") ?? Command.find("objcopy") else {
            throw .missing("llvm-objcopy is not in PATH; it comes with the Swift toolchain")
        }
        let note = symbols + ".note"
        guard
            FileManager.default.createFile(
                atPath: note, contents: ImageNote.encode(manifest.embedded))
        else { throw LaunchError("cannot write \(note)") }
        for arguments in [
            ["--strip-all", symbols, path],
            ["--add-section=\(ImageNote.section)=\(note)", path],
        ] {
            let ended = try Command.capture(strip, arguments)
            guard ended.status == 0 else {
                throw LaunchError("making \(path) of \(symbols) failed: " + ended.output)
            }
        }
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return Image(
            path: path, symbols: symbols, size: attributes?[.size] as? Int ?? 0,
            manifest: manifest, configuration: sdk.configuration)
    }
}
