import Foundation

/// A guest image that was built.
public struct Image: Sendable {
    /// The stripped image, which QEMU boots.
    public let path: String
    /// The image with its symbols.
    public let symbols: String
    /// The bytes of the stripped image.
    public let size: Int
}

/// Builds guests from packages.
public struct ImageBuild: Sendable {
    private let sdk: GuestSDK

    /// A builder for the Toro in folder `root`; the SDK bundle is kept below `root/.build`.
    public init(root: String) throws(LaunchError) {
        sdk = try GuestSDK(root: root, below: root + "/.build/toro")
    }

    /// Builds `product` of the package in `folder`; `log` gets the compiler's output if it fails.
    public func build(package folder: String, product: String) throws(LaunchError) -> Image {
        guard FileManager.default.fileExists(atPath: folder + "/Package.swift") else {
            throw .usage("\(folder) is no package: it has no Package.swift")
        }
        guard let swift = Command.find("swift") else {
            throw .missing("swift is not in PATH: install Swift 6.3 from swift.org/install")
        }
        let scratch = folder + "/.build/toro-microvm"
        let built = try Command.capture(
            swift,
            [
                "build", "--package-path", folder, "--scratch-path", scratch,
                "--swift-sdks-path", sdk.folder, "--swift-sdk", GuestSDK.name,
                "--disable-build-manifest-caching", "-c", "release", "--product", product,
                "-Xswiftc", "-file-prefix-map", "-Xswiftc", folder + "=.",
            ])
        guard built.status == 0 else {
            throw LaunchError("the build of \(product) failed:\n" + built.output)
        }
        let symbols = scratch + "/release/" + product
        let path = symbols + ".image"
        guard let strip = Command.find("llvm-objcopy") ?? Command.find("objcopy") else {
            throw .missing("llvm-objcopy is not in PATH; it comes with the Swift toolchain")
        }
        let stripped = try Command.capture(strip, ["--strip-all", symbols, path])
        guard stripped.status == 0 else {
            throw LaunchError("stripping \(symbols) failed: " + stripped.output)
        }
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return Image(path: path, symbols: symbols, size: attributes?[.size] as? Int ?? 0)
    }
}
