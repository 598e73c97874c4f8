// The offline program: published checkpoints in, one INT8 model file out.

QuantizeCommand.main()
