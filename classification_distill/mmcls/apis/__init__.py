"""What is called from Python and by the commands of ``tools/``; ``mmcls`` has the functions themselves."""
