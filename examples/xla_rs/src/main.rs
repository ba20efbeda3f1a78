//! Runs a program that `ribosome lower` saved on the CPU client of xla-rs, and compares what it gives with what
//! ribosome's own runtime gave for the same inputs. README.md has the three commands.

mod case;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use safetensors::Dtype;
use xla::{ElementType, HloModuleProto, Literal, PjRtBuffer, PjRtClient, XlaComputation};

use case::{Array, Port, Signature, compare, read_arrays};

/// Runs a program of ribosome's with xla-rs and compares its outputs with ribosome's own
#[derive(Parser)]
struct Args {
    /// NAME.hlo.pb from `ribosome lower --emit proto`, or NAME.hlo.txt from `--emit hlo`
    program: PathBuf,
    /// The signature [default: NAME.json beside the program]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The inputs [default: NAME.inputs.safetensors beside the program]
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// The outputs to compare with [default: NAME.outputs.safetensors beside the program]
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,
    /// The largest difference that passes, as a share of a tensor's largest element. The default is ten times what
    /// another order of f32 sums makes in ribosome's own tests
    #[arg(long, default_value_t = 1e-5)]
    tolerance: f64,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let beside = |given: &Option<PathBuf>, ending: &str| match given {
        Some(path) => path.clone(),
        None => args
            .program
            .with_file_name(format!("{}.{ending}", stem(&args.program))),
    };
    let signature = Signature::read(&beside(&args.signature, "json"))?;
    let inputs = read_arrays(
        &beside(&args.inputs, "inputs.safetensors"),
        &signature.inputs,
    )?;
    let expected = read_arrays(
        &beside(&args.outputs, "outputs.safetensors"),
        &signature.outputs,
    )?;

    let found = run(&args.program, &signature, &inputs)?;
    let mut far = 0;
    for gap in compare(&signature.outputs, &found, &expected)? {
        // Written so that NaN is too far.
        let close = gap.relative <= args.tolerance;
        far += usize::from(!close);
        let verdict = if close { "" } else { "  too far" };
        println!("{:9.1e}  {}{verdict}", gap.relative, gap.name);
    }
    let outputs = signature.outputs.len();
    println!(
        "{far} of {outputs} outputs differ by more than {:e} of their largest element",
        args.tolerance
    );
    Ok(if far == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// NAME of NAME.hlo.pb and NAME.hlo.txt.
fn stem(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".pb").unwrap_or(&name);
    let name = name.strip_suffix(".txt").unwrap_or(name);
    name.strip_suffix(".hlo").unwrap_or(name).to_string()
}

/// Compiles the program for one CPU device and runs it once. Parameters go in, and outputs come, in the signature's order.
fn run(program: &Path, signature: &Signature, inputs: &[Array]) -> Result<Vec<Array>> {
    let module = match program.extension().is_some_and(|it| it == "pb") {
        true => HloModuleProto::from_proto_file(program, true),
        false => HloModuleProto::from_text_file(program),
    };
    let module = module.with_context(|| format!("reading {}", program.display()))?;
    let client = PjRtClient::cpu()?;
    let executable = client.compile(&XlaComputation::from_proto(&module))?;
    let put = |array: &Array| -> Result<PjRtBuffer> {
        let element = element_type(array.dtype)?;
        Ok(client.buffer_from_host_raw_bytes(element, &array.bytes, &array.dims, None)?)
    };
    let arguments = inputs.iter().map(put).collect::<Result<Vec<_>>>()?;
    // One list of buffers for each device, and the tuple's elements in it.
    let mut devices = executable.execute_b(&arguments)?.into_iter();
    let (Some(buffers), None) = (devices.next(), devices.next()) else {
        bail!("the program did not run on one device");
    };
    ensure!(
        buffers.len() == signature.outputs.len(),
        "the program gave {} arrays, and its signature has {}",
        buffers.len(),
        signature.outputs.len()
    );
    let fetch =
        |(port, buffer): (&Port, PjRtBuffer)| fetched(port.dtype()?, &buffer.to_literal_sync()?);
    signature.outputs.iter().zip(buffers).map(fetch).collect()
}

/// A literal as an array of `dtype`, which it must have.
fn fetched(dtype: Dtype, literal: &Literal) -> Result<Array> {
    let shape = literal.array_shape()?;
    ensure!(
        shape.ty() == element_type(dtype)?,
        "an output is {:?}, and the signature has it as {dtype:?}",
        shape.ty()
    );
    let dims = shape.dims().iter().map(|size| usize::try_from(*size));
    let mut bytes = vec![0; literal.size_bytes()];
    literal.copy_untyped_to(&mut bytes)?;
    Ok(Array {
        dtype,
        dims: dims.collect::<Result<_, _>>()?,
        bytes,
    })
}

/// The element type as XLA calls it.
fn element_type(dtype: Dtype) -> Result<ElementType> {
    Ok(match dtype {
        Dtype::BOOL => ElementType::Pred,
        Dtype::I32 => ElementType::S32,
        Dtype::U32 => ElementType::U32,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        other => bail!("elements of {other:?} are not run"),
    })
}
